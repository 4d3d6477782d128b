"""Bodies and answers of the admin API as pydantic models: what the OpenAPI page shows and what is checked."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, model_validator

from router.commands import Match, PatchRoute, SetRoute, Share
from router.errors import InvalidArgument
from router.routes import MAX_ALIASES, MAX_RULES, MAX_VARIANTS, KeySource, Rule, is_version, percent_to_ppm

MOST_MEMBERS: Final = 64
"""Of one object with a fixed form."""

Name = Annotated[str, Field(min_length=1, max_length=128)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_small(cls, found: Any) -> Any:
        """Of many members that nobody knows each would be an error of its own."""
        if isinstance(found, dict) and len(found) > MOST_MEMBERS:
            raise ValueError(f"has {len(found)} members, more than any body here")
        return found


class VariantBody(_Body):
    """One arm of a route."""

    version: StrictInt | Name = Field(
        description="a version number, an alias or a target elsewhere", examples=[2, "stable"]
    )
    weight: StrictInt | StrictFloat | Name = Field(description="percent, down to 0.0001", examples=[10, "12.5"])
    name: Name | None = Field(None, description="shown in `Serin-Variant`; by default the version's text")


class KeyBody(_Body):
    """Where the routing key is looked for, in this order; null: not there."""

    header: Name | None = "serin-routing-key"
    cookie: Name | None = None
    parameter: Name | None = "routing_key"


class RuleBody(_Body):
    """Requests with this header go to the variant, outside the split."""

    header: Name
    variant: Name
    value: Annotated[str, Field(max_length=1024)] | None = Field(None, description="null: its presence is enough")


class RouteBody(_Body):
    """A whole route; an optional field that is absent keeps what is recorded."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "variants": [{"version": 1, "weight": 90}, {"name": "canary", "version": 2, "weight": 10}],
                    "rules": [{"header": "x-beta", "value": "yes", "variant": "canary"}],
                    "aliases": {"stable": 1},
                    "reason": "first look at version 2",
                }
            ]
        },
    )

    variants: Annotated[list[VariantBody], Field(min_length=1, max_length=MAX_VARIANTS)]
    key: KeyBody | None = None
    salt: Annotated[str, Field(max_length=256)] | None = None
    rules: Annotated[list[RuleBody], Field(max_length=MAX_RULES)] | None = None
    aliases: Annotated[dict[Name, StrictInt], Field(max_length=MAX_ALIASES)] | None = None
    reason: Annotated[str, Field(max_length=1024)] | None = None

    def command(self, model: str, match: Match) -> SetRoute:
        """The command that this body stands for. Raises InvalidArgument that names the field."""
        return SetRoute(
            model,
            tuple(_share(index, variant) for index, variant in enumerate(self.variants)),
            key=None if self.key is None else _key(self.key),
            salt=self.salt,
            rules=_rules(self.rules),
            aliases=self.aliases,
            match=match,
        )


class PatchBody(_Body):
    """Names and rules only. Aliases are added or moved, null takes one away; rules replace the recorded ones."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"aliases": {"stable": 2, "old": None}}]})

    aliases: Annotated[dict[Name, StrictInt | None], Field(max_length=MAX_ALIASES)] | None = None
    rules: Annotated[list[RuleBody], Field(max_length=MAX_RULES)] | None = None
    reason: Annotated[str, Field(max_length=1024)] | None = None

    def command(self, model: str, match: Match) -> PatchRoute:
        """The command that this body stands for."""
        return PatchRoute(model, self.aliases, _rules(self.rules), match)


class ReasonBody(_Body):
    """Why, for the history."""

    reason: Annotated[str, Field(max_length=1024)] | None = None


class VariantAnswer(BaseModel):
    """One arm of a route; `weight` in percent."""

    name: str
    version: int
    weight: float
    weight_ppm: int


class RouteAnswer(BaseModel):
    """A recorded route. `revision` is its ETag; `epoch` grows with every change of the split itself."""

    model: str
    revision: int
    epoch: int
    salt: str
    key: KeyBody
    variants: list[VariantAnswer]
    rules: list[RuleBody]
    aliases: dict[str, int]


class AppliedAnswer(BaseModel):
    """A change that is in effect: no request that is sent from now on is answered from an older table."""

    revision: int = Field(examples=[18])
    applied: int = Field(description="workers that answer from this revision", examples=[4])
    workers: int = Field(description="live workers", examples=[4])
    route: RouteAnswer | None = None


class EventAnswer(BaseModel):
    """One line of the history."""

    id: int
    at: str = Field(examples=["2025-01-31T12:00:00.000Z"])
    revision: int
    actor: str
    claimed: str | None
    kind: str = Field(examples=["route.set"])
    model: str | None
    reason: str
    rollout: str | None = Field(None, description="the id of the rollout that it belongs to")
    before: Any
    after: Any
    hash: str = Field("", description="its link of the chain that `serin audit verify` walks")


class EventsAnswer(BaseModel):
    """A page of the history, oldest first. `next_after` is the `after` of the next page."""

    events: list[EventAnswer]
    next_after: int


class ErrorAnswer(BaseModel):
    """What every refusal looks like."""

    error: str = Field(examples=["digits:3 cannot be loaded: not an ONNX file; nothing was changed"])
    code: str = Field(examples=["FAILED_PRECONDITION"])
    request_id: str


def require_version(text: str) -> str:
    """The text of a version in a path. Raises ValueError for one that an int is made of and that no version is written
    in, such as `01`, `+1` or digits of another script."""
    if not is_version(text):
        raise ValueError("a version is a whole number from 1, without leading zeros")
    return text


def _share(index: int, body: VariantBody) -> Share:
    if isinstance(body.version, str) and body.version.isdigit() and not is_version(body.version):
        raise InvalidArgument(f"variants[{index}].version: must be a whole number from 1, without leading zeros")
    try:
        return Share(str(body.version), percent_to_ppm(body.weight), body.name)
    except InvalidArgument as error:
        raise InvalidArgument(f"variants[{index}].weight: {error.message}") from error


def _key(body: KeyBody) -> KeySource:
    return KeySource(body.header.lower() if body.header else None, body.cookie, body.parameter)


def _rules(bodies: list[RuleBody] | None) -> tuple[Rule, ...] | None:
    if bodies is None:
        return None
    return tuple(Rule(body.header.lower(), body.variant, body.value) for body in bodies)
