"""`POST /v2/models/{model}/feedback`: labels and rewards for answers, one or many."""

import asyncio
from typing import Annotated, Any, Final

import msgspec
from fastapi import FastAPI, Path, Request

from router.decoding import decoder
from router.errors import InvalidArgument, SerinError, Unimplemented
from service.feedback import Feedback, Item
from service.http.documents import FeedbackAnswer, FeedbackError
from service.http.reading import read_small

MAX_ITEMS: Final = 1000
MAX_BYTES: Final = 1024 * 1024
OFF_LOOP_BYTES: Final = 16 * 1024
MAX_LABEL: Final = 256
UNKNOWN: Final = "unknown field"
"""Where msgspec says this, it repeats what was sent."""

DOCUMENT: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/FeedbackBody"}}},
    }
}


class _One(msgspec.Struct, forbid_unknown_fields=True):
    assignment: str
    reward: bool | int | float | None = None
    label: str | int | None = None


class _Many(msgspec.Struct, forbid_unknown_fields=True):
    feedback: list[msgspec.Raw]


class _Body(msgspec.Struct):
    feedback: list[msgspec.Raw] | None = None


def add_feedback(app: FastAPI, feedback: Feedback | None) -> None:
    """The route. `feedback` None: a gateway that takes none."""

    @app.post("/v2/models/{model}/feedback", tags=["inference"], openapi_extra=DOCUMENT)
    async def give_feedback(
        request: Request, model: Annotated[str, Path(description="the model that answered")]
    ) -> FeedbackAnswer:
        """Say whether an answer was right, by the `Serin-Assignment` that came with it; one or up to 1000 at a time.

        Each token is counted once. What one item gets wrong is said in `errors`, and the others are counted all the
        same; of a single item it is the answer's status.
        """
        if feedback is None:
            raise Unimplemented("feedback is switched off: feedback_horizon_seconds is 0")
        items, wrong, is_single = await _read(request)
        taken = await feedback.take(model, [item for _, item in items])
        told = [*wrong, *((items[place][0], error) for place, error in taken.errors)]
        if is_single and told:
            raise told[0][1]
        errors = [
            FeedbackError(index=place, code=error.kind.value, error=error.message)
            for place, error in sorted(told, key=lambda one: one[0])
        ]
        return FeedbackAnswer(counted=taken.counted, repeated=taken.repeated, refused=len(errors), errors=errors)


Read = tuple[list[tuple[int, Item]], list[tuple[int, SerinError]], bool]
"""Items by their place, what is wrong with the others, and whether it was a single one."""


async def _read(request: Request) -> Read:
    body = await read_small(request, MAX_BYTES)
    return parse(body) if len(body) <= OFF_LOOP_BYTES else await asyncio.to_thread(parse, body)


def parse(body: bytes) -> Read:
    """The items of a body. Raises InvalidArgument when it is neither an item nor a list of them."""
    is_single = _decoded(body, _Body, "body").feedback is None
    parts = [msgspec.Raw(body)] if is_single else _decoded(body, _Many, "body").feedback
    if len(parts) > MAX_ITEMS:
        raise InvalidArgument(f"feedback: has {len(parts)} items; send at most {MAX_ITEMS} at a time")
    items: list[tuple[int, Item]] = []
    wrong: list[tuple[int, SerinError]] = []
    for place, part in enumerate(parts):
        try:
            items.append((place, _item(_decoded(bytes(part), _One, "item"))))
        except InvalidArgument as error:
            wrong.append((place, error))
    return items, wrong, is_single


def _decoded(content: bytes, kind: Any, what: str) -> Any:
    try:
        return decoder(kind).decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        form = '{"assignment": "...", "label": "..."} or {"assignment": "...", "reward": 0 or 1}'
        many = f'; many are {{"feedback": [{form.split(" or ")[0]}, ...]}}' if what == "body" else ""
        wrong = "has a member that is not known here" if UNKNOWN in str(error) else error
        raise InvalidArgument(f"{what}: {wrong}; an item is {form}{many}") from error


def _item(one: _One) -> Item:
    if (one.reward is None) == (one.label is None):
        raise InvalidArgument("item: needs either `reward` or `label`")
    if one.label is not None:
        label = str(one.label)
        if not 0 < len(label) <= MAX_LABEL:
            raise InvalidArgument(f"label: must be 1 to {MAX_LABEL} characters")
        return Item(one.assignment, label=label)
    if one.reward not in (0, 1):
        raise InvalidArgument("reward: must be 1 (good) or 0 (not good)")
    return Item(one.assignment, good=bool(one.reward))
