"""The document that a person writes for a rollout, as pydantic models: what editors complete and JSON Schema says."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from router.analysis_body import AnalysisBody, StepSafeBody
from router.checks import COUNTS, METRICS, CheckKind, Compare, Tolerance
from router.plan import AllowedContract, OnDeadline, OnInconclusive
from router.routes import MAX_VARIANTS
from router.safeguards import (
    DEFAULT_WORST,
    MAX_COMPARISONS,
    MAX_EXPOSED_KEYS,
    MAX_EXPOSURE,
    MAX_WORST,
    ComparisonKind,
    FallbackReason,
)
from router.spec_types import Duration, Header, Name, Number, Percent, Requests, Value, Version
from router.strategies import PREVIEW_HEADER, End, Strategy


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WaitBody(_Document):
    """What a step waits for: all of it."""

    pause: Duration = Field(0.0, description="at least this long")
    requests: Requests = Field(0, description="at least so many on the candidate (shadow: mirrored; ab: on each)")
    approval: bool = Field(False, description="until somebody approves")
    deadline: Duration | None = Field(None, description="by default `step_deadline`")


class CanaryBody(WaitBody):
    """Growing weights, each for the same wait. What has all the weight at the end is promoted."""

    weights: Annotated[list[Percent], Field(min_length=1, max_length=100)] = Field(
        default=["1", "5", "25", "50"], validate_default=True, description="percent, growing, down to 0.0001"
    )
    pause: Duration = Field(default="5m", validate_default=True, description="at least this long at each weight")


class PreviewBody(WaitBody):
    """Loaded everywhere, no weight, reachable by header; a share of the requests may be mirrored to it."""

    header: Header = PREVIEW_HEADER
    value: Value | None = Field(None, description="null: the header's presence is enough")
    shadow: Percent = Field(0, description="percent of the requests that are also run on it")


class BlueGreenBody(PreviewBody):
    """Preview, then all traffic at once."""

    approval: bool = Field(True, description="until somebody approves")
    bake: Duration = Field(0.0, description="watched for this long with all traffic before it counts as promoted")


class CohortBody(WaitBody):
    """Requests with this header go to the candidate, and no others."""

    header: Header
    value: Value | None = None
    approval: bool = Field(True, description="until somebody approves")


class ShadowBody(WaitBody):
    """This share of the requests is also run on the candidate, which answers nobody."""

    share: Percent = Field(default="100", validate_default=True)
    requests: Requests = Field(1000, description="mirrored at least")
    noise_floor: Requests = Field(0, description="so many requests are first also run on stable itself; 0: none")


class AbBody(WaitBody):
    """Fixed shares. Ends by date, by sample or by decision, whatever of it is given; nothing is promoted unasked."""

    until: str | None = Field(None, description="a date such as 2025-12-24T18:00:00Z")


class CohortHeader(_Document):
    """Who gets the candidate outside the split, from this step on."""

    header: Header
    value: Value | None = None


class PreviewHeader(_Document):
    """Who sees the candidate."""

    header: Header = PREVIEW_HEADER
    value: Value | None = None


class StepBody(WaitBody):
    """One step: one of `weight`, `noise_floor`, `shadow`, `cohort`, `preview`, `switch`, `share`; with none of them it
    only waits."""

    weight: Percent | None = Field(None, description="percent of the requests for the candidate")
    noise_floor: Percent | None = Field(
        None, description="percent of the requests that are also run on stable itself; needs `requests`"
    )
    shadow: Percent | None = Field(None, description="percent of the requests that are also run on the candidate")
    cohort: CohortHeader | None = None
    preview: PreviewHeader | None = None
    switch: Literal[True] | None = Field(None, description="all traffic at once")
    share: Literal[True] | None = Field(None, description="the fixed weights of `to`")
    checks: bool = Field(True, description="whether checks and evidence must pass before it is left")
    safe: StepSafeBody | None = Field(None, description="by default as `analysis` has it")


class KeyNames(_Document):
    """Where the routing key is looked for, in this order; null: not there."""

    header: Header | None = "serin-routing-key"
    cookie: Header | None = None
    parameter: Header | None = "routing_key"


class ArmBody(_Document):
    """One of several candidates."""

    version: Version
    weight: Percent
    name: Name | None = None


class CheckBody(_Document):
    """A number that must stay within limits. Without data it never passes."""

    name: Name
    kind: CheckKind = Field(CheckKind.THRESHOLD, description="hook: asks the hook that `source` names")
    metric: str = Field("", description=f"of source `{COUNTS}`", examples=list(METRICS))
    source: Name = Field(COUNTS, description="`counts`, or a source or hook that the settings name")
    query: Annotated[str, Field(max_length=4096)] = Field("", description="PromQL or a JSON path, for other sources")
    label: Annotated[str, Field(max_length=128)] = Field("", description="the class of `class_share`")
    max: Number | None = Field(None, description="above it fails")
    min: Number | None = Field(None, description="below it fails")
    compare: Compare = Field(
        Compare.VALUE,
        description="ratio: candidate / stable; difference: candidate - stable (`shadow_flip_rate`: - the noise floor)",
    )
    min_requests: Requests = Field(50, description="before it says anything")
    tolerate: Annotated[StrictInt, Field(ge=0, le=1000)] = Field(0, description="3 fails on the 4th failure")
    tolerance: Tolerance = Field(Tolerance.CONSECUTIVE, description="failures in a row, or all of the step")
    interval: Duration | None = Field(
        None, description="how often it is measured; by default `counts` each second (with `tolerate`: 10s), others 10s"
    )


class FallbackBody(_Document):
    """What the candidate fails to answer, stable answers; it counts as the candidate's failure."""

    enabled: bool = True
    on: Annotated[list[FallbackReason], Field(min_length=1, max_length=4)] = ["timeout", "shed", "error", "nonfinite"]
    budget: Percent = Field(default="20", validate_default=True, description="percent of the requests in 10 s")


class ExposureBody(_Document):
    """At most so many on the candidate until a step's checks have passed for the first time."""

    requests: Annotated[StrictInt, Field(ge=1, le=MAX_EXPOSURE)] | None = None
    keys: Annotated[StrictInt, Field(ge=1, le=MAX_EXPOSED_KEYS)] | None = None
    failures: Annotated[StrictInt, Field(ge=1, le=MAX_EXPOSURE)] | None = None


class ComparisonBody(_Document):
    """When two answers count as the same in one output, for mirrored requests. `*`: every other output."""

    output: Annotated[str, Field(min_length=1, max_length=256)]
    kind: ComparisonKind
    absolute: Annotated[Number, Field(ge=0)] = 0.0
    relative: Annotated[Number, Field(ge=0)] = 0.0
    k: Annotated[StrictInt, Field(ge=1, le=1000)] = 5
    least: Annotated[Number, Field(ge=-1, le=1)] = 0.999


class PairsBody(_Document):
    """What is kept of the mirrored requests whose two answers lie furthest apart, to be looked at by people."""

    most: Annotated[StrictInt, Field(ge=0, le=MAX_WORST)] = Field(DEFAULT_WORST, description="so many; 0: none")
    inputs: bool = Field(False, description="keep the inputs too: they may be somebody's data")
    values: bool = Field(True, description="false: keep how far the answers lie apart, and no number of them")


class SpecBody(_Document):
    """A rollout: which version, how carefully, what must hold, and what happens when time is over."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Serin rollout", populate_by_name=True)

    model: Name = Field(description="the model's name")
    to: Version | Annotated[list[ArmBody], Field(min_length=1, max_length=MAX_VARIANTS - 1)] = Field(
        description="a version, an alias or a target elsewhere; for ab a list with weights"
    )
    source: Version | None = Field(None, alias="from", description="by default the version with all the weight")
    strategy: Strategy = Field(Strategy.CANARY, description="`steps` is what a list of steps is called")
    canary: CanaryBody | None = Field(None, description="options of strategy canary")
    blue_green: BlueGreenBody | None = Field(None, alias="blue-green", description="options of strategy blue-green")
    ab: AbBody | None = Field(None, description="options of strategy ab")
    shadow: ShadowBody | None = Field(None, description="options of strategy shadow")
    cohort: CohortBody | None = Field(None, description="options of strategy cohort")
    steps: Annotated[list[StepBody], Field(min_length=1, max_length=100)] | None = Field(
        None, description="a list of your own, walked one by one, instead of a strategy"
    )
    end: End | None = Field(None, description="after the last step; by default `decide` for ab and shadow")
    key: KeyNames | None = Field(None, description="by default as the route has it")
    salt: Annotated[str, Field(max_length=256)] | None = Field(None, description="by default the rollout's id")
    checks: Annotated[list[CheckBody], Field(max_length=32)] | None = Field(
        None,
        description="by default `analysis` judges steps with a weight; where it cannot, an error rate of at most 5 %",
    )
    analysis: AnalysisBody | None = Field(
        None, description="by default on, with all its defaults, for canary and steps without `checks`"
    )
    max_duration: Duration | None = Field(None, description="by default 1d (ab: 30d); then it ends")
    step_deadline: Duration | None = Field(None, description="each step may take so long; by default no limit")
    ready_deadline: Duration = Field(default="10m", validate_default=True, description="to be loaded everywhere")
    on_deadline: OnDeadline = Field(
        OnDeadline.ABORT, description="hold: only at a step's; promote: only when every check passes, else abort"
    )
    on_inconclusive: OnInconclusive = Field(
        OnInconclusive.HOLD, description="when a step has waited long enough and a check cannot tell"
    )
    rollback_window: Duration = Field(
        default="1h", validate_default=True, description="the old version is kept warm for so long after promotion"
    )
    fallback: FallbackBody | None = Field(None, description="by default on for canary, cohort and steps")
    exposure: ExposureBody | None = Field(None, description="by default no limit")
    contract: AllowedContract = Field(
        AllowedContract.COMPATIBLE, description="how far inputs, outputs and their meaning may leave stable's"
    )
    compare: Annotated[list[ComparisonBody], Field(max_length=MAX_COMPARISONS)] | None = Field(
        None, description="for mirrored requests; by default by the outputs' meaning and datatype"
    )
    pairs: PairsBody | None = Field(None, description="for mirrored requests; by default the 10 worst without inputs")
    reason: Annotated[str, Field(max_length=1024)] | None = Field(None, description="why; recorded in the history")
