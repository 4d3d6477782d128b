"""The `analysis:` part of a rollout's document, as pydantic models: how evidence judges a rollout."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt

from router.safeguards import MOST_GOLDEN
from router.sequential import Action
from router.spec_types import Duration, Number, Percent, Requests


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Probability = Annotated[Number, Field(gt=0, lt=1)]
Weight = Annotated[Number, Field(gt=0, le=1000)]
Share = Annotated[Number, Field(ge=0, lt=0.9)]
Ratio = Annotated[Number, Field(gt=0, le=1000)]
Increase = Annotated[Number, Field(gt=0, le=100)]
Output = Annotated[str, Field(max_length=256)]


class SafeRateBody(_Document):
    """Shown by either: fewer than `ratio` times stable's, or a rate below `or_below`."""

    ratio: Annotated[Number, Field(gt=1, le=1000)] | None = None
    or_below: Annotated[Number, Field(gt=0, lt=1)] | None = None


class SafeLatencyBody(_Document):
    """Shown at every quantile: less than so much more."""

    increase: Increase = 0.20


class SafeRewardBody(_Document):
    """More than `ratio` times stable's."""

    ratio: Annotated[Number, Field(gt=0, lt=1)] = 0.95


class StepSafeBody(_Document):
    """What evidence must show at this step: `ratio` of errors, `increase` of latency (0.2 is 20 %)."""

    ratio: Annotated[Number, Field(gt=1, le=1000)] | None = None
    increase: Increase | None = None


class ErrorsBody(_Document):
    """Requests that fail, time out, are shed or give numbers that are not finite, also where stable stepped in."""

    weight: Weight = 0.4
    action: Action = Action.ABORT
    max_ratio: Annotated[Number, Field(ge=1, le=1000)] = Field(
        1.2, description="harm: more than so many times stable's"
    )
    ignore_below: Share = Field(0.001, description="and a rate above this")
    safe: SafeRateBody | None = Field(
        None, description="by default 3, 2 or 1.5 times below 25 %, below 50 % and from 50 % on, or a rate below 0.005"
    )
    required: bool = Field(True, description="whether `safe` must be shown before the next step")


class LatencyBody(_Document):
    """From assignment to result, at some quantiles."""

    weight: Weight = 0.4
    action: Action = Action.ABORT
    quantiles: Annotated[list[Annotated[Number, Field(gt=0, lt=1)]], Field(min_length=1, max_length=8)] = [
        0.5,
        0.95,
        0.99,
    ]
    max_increase: Annotated[Number, Field(ge=0, le=100)] = Field(
        0.10, description="harm: slower by more, at any of them"
    )
    ignore_below: Duration = Field(
        default="1ms", validate_default=True, description="and that quantile above this; 0: no such floor"
    )
    safe: SafeLatencyBody | None = SafeLatencyBody()
    required: bool = True


class ValidBody(_Document):
    """Answers without NaN and infinity."""

    weight: Weight = 0.2
    action: Action = Action.ABORT
    max_ratio: Annotated[Number, Field(ge=1, le=1000)] = 1.0
    ignore_below: Share = 0.0


class ClassShareBody(_Document):
    """How often each class is predicted, up and down."""

    weight: Weight = 1.0
    action: Action = Action.HOLD
    tolerance: Annotated[Number, Field(ge=0, lt=1)] = Field(0.02, description="harm: off by more than this, of 1")
    output: Output = Field("", description="by default the first output whose classes are watched")


class ScoreBody(_Document):
    """The distribution of a score, up and down."""

    weight: Weight = 1.0
    action: Action = Action.HOLD
    min_auc_shift: Annotated[Number, Field(ge=0, lt=0.5)] = Field(
        0.03, description="harm: a candidate's score is higher than stable's with a probability off 1/2 by more"
    )
    output: Output = Field("", description="by default the first output whose values are watched")


class RewardBody(_Document):
    """Labels that came back and were good. Judged only where it is listed."""

    weight: Weight = 1.0
    action: Action = Action.HOLD
    max_ratio: Annotated[Number, Field(gt=0, le=1)] = Field(1.0, description="harm: fewer than so many times stable's")
    delay: Duration = Field(default="24h", validate_default=True, description="later ones are not counted")
    safe: SafeRewardBody | None = SafeRewardBody()
    required: bool = False


class MetricsBody(_Document):
    """What is judged. `false` leaves one out; one that is not listed keeps its defaults."""

    errors: ErrorsBody | Literal[False] = ErrorsBody()
    latency: LatencyBody | Literal[False] = LatencyBody()
    outputs_valid: ValidBody | Literal[False] = ValidBody()
    class_share: ClassShareBody | Literal[False] = ClassShareBody()
    score: ScoreBody | Literal[False] = ScoreBody()
    reward: RewardBody | Literal[False] = False


class BlockBody(_Document):
    """When counts are taken as one piece of evidence: so many requests and a second, or so old."""

    min_requests: Annotated[StrictInt, Field(ge=2, le=100_000)] = 20
    max_age: Duration = Field(default="60s", validate_default=True)


class WarmupBody(_Document):
    """What is left out of the evidence in each worker: until so long after the candidate's first request there, and so
    many of its requests. `0s` and 0: nothing."""

    seconds: Duration = Field(default="10s", validate_default=True)
    requests: Requests = 20


class SrmBody(_Document):
    """Whether chance gives the shares it should; else the rollout holds: the assignment is broken."""

    alpha: Probability = 0.001
    action: Literal["hold", "report"] = "hold"


class WatchLatencyBody(_Document):
    """At most this share of the requests takes so long or longer."""

    slower_than: Duration
    share: Annotated[Number, Field(gt=0, lt=0.9)] = 0.01


class WatchBody(_Document):
    """Limits for the version after its promotion: it is rolled back when it does not keep them."""

    errors: Annotated[Number, Field(gt=0, lt=0.9)] | None = Field(None, description="at most this share fails")
    latency: WatchLatencyBody | None = None


def _listed(value: Any) -> Any:
    """Metrics may also be a list of {name: ..., ...}."""
    if not isinstance(value, list):
        return value
    found: dict[str, Any] = {}
    for one in value:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise ValueError("a list of metrics has entries such as {name: errors, weight: 0.4}")
        if one["name"] in found:
            raise ValueError(f"names {one['name']} twice")
        found[one["name"]] = {field: told for field, told in one.items() if field != "name"}
    return found


class AnalysisBody(_Document):
    """How evidence judges the rollout: valid at every look, for all metrics, steps and looks together."""

    method: Literal["sequential", "threshold"] = Field("sequential", description="threshold: only `checks` judge")
    false_rollback_rate: Probability = Field(0.01, description="of harmless candidates, so many are aborted at most")
    false_hold_rate: Probability = Field(0.01, description="the same for metrics whose action is hold")
    false_promotion_rate: Probability = Field(0.05, description="for each metric that must be shown to be safe")
    block: BlockBody = BlockBody()
    warmup: WarmupBody = WarmupBody()
    unit: Literal["request", "key"] | None = Field(
        None, description="key: each routing key counts once, with its first request; by default where `key` is given"
    )
    metrics: Annotated[MetricsBody, BeforeValidator(_listed)] = MetricsBody()
    srm: SrmBody = SrmBody()
    low_traffic: Percent = Field(
        0, description="percent of the requests that are also run on the candidate, to fill the sample of errors"
    )
    golden: Annotated[Number, Field(ge=0, le=MOST_GOLDEN)] = Field(
        0, description="golden rows a second that each worker also runs on both versions, to fill the sample of errors"
    )
    baseline: bool = Field(
        False, description="compare latency, below a third, with stable in a queue of its own at the candidate's weight"
    )
    watch: WatchBody | None = Field(None, description="by default nothing is watched after promotion")
