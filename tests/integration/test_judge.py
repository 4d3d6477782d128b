"""The judge of a rollout on real counters: what belongs to a step, what is asked when, what a restart leaves."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from router.assessor import Question
from router.checks import Check, CheckKind, Compare
from router.counters import Segment
from router.errors import Unavailable
from router.hooks import Hook, Message, Reply, Sender
from router.judge import Judge
from router.mirrors import MirrorName, OutputDifference, mirror_series
from router.replay import replay
from router.routes import Mirror, Route, Variant
from router.sources import Source, Sources
from router.spec import parse_spec
from router.tally import Reader
from router.telemetry import How, Outcome, Recorder, SeriesName, WatchedFamily
from router.verdict import VerdictKind
from tests.integration.local_http import Asked, Said, site

PASS, FAIL, NO_DATA, ERROR = VerdictKind.PASS, VerdictKind.FAIL, VerdictKind.NO_DATA, VerdictKind.ERROR
CLASSES = WatchedFamily("label", "class", labels=("a", "b", "other"))
ROUTE = Route("digits", (Variant("1", 1, 900_000), Variant("2", 2, 100_000)), epoch=4)
ERRORS = Check("errors", metric="error_rate", maximum=0.05, interval_seconds=0.0)
PROM = Check("prom", source="prom", query='e{version="{{version}}"}', maximum=0.05, interval_seconds=0.0)
GATE = Check("gate", kind=CheckKind.HOOK, source="ops", interval_seconds=0.0)


class Counted:
    """One worker that counts what a test says."""

    def __init__(self, directory: Path) -> None:
        self.segment = Segment.open(directory, 0)
        self.recorder = Recorder(self.segment)
        self.read = Reader(directory).read

    def requests(self, version: int, ok: int = 0, error: int = 0, epoch: int = 4, direct: bool = False) -> None:
        name = SeriesName("digits", version, str(version), 0 if direct else epoch, direct)
        series = self.recorder.variant(name, (CLASSES,), 0)
        for outcome, count in ((Outcome.OK, ok), (Outcome.ERROR, error)):
            for _ in range(count):
                series.assigned(How.RULE if direct else How.SPLIT_DRAWN)
                series.observe(outcome, 500_000, (1, 0, 1, 1), (0,))

    def fallbacks(self, count: int) -> None:
        series = self.recorder.served(SeriesName("digits", 1, "1"), "2", "error", (CLASSES,))
        for _ in range(count):
            series.assigned(How.SPLIT_DRAWN)
            series.observe(Outcome.OK, 500_000, (1, 0, 1, 1), (0,))

    def mirrored(self, same: int, different: int, epoch: int = 4, to: tuple[int, str] = (2, "2")) -> None:
        series = mirror_series(self.recorder, MirrorName("digits", *to, epoch), [("label", "exact")], 0)
        for flipped in [0] * same + [1] * different:
            series.given()
            series.ended(Outcome.OK, 500_000)
            series.compared([OutputDifference(1, flipped, float(flipped))])


class Answers(Sender):
    def __init__(self, *replies: Reply) -> None:
        super().__init__(lambda: 0.0)
        self.replies = list(replies)
        self.sent: list[Message] = []

    async def send(self, hook: Hook, message: Message) -> Reply:
        self.sent.append(message)
        return self.replies.pop(0)


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    found = Counted(tmp_path)
    yield found
    found.segment.close()


def judge(counted: Counted, url: str = "http://127.0.0.1:9", answers: Sender | None = None) -> Judge:
    sources = Sources({"prom": Source("prom", "json", url + "/{{version}}", timeout_seconds=2.0)})
    hooks = {"ops": Hook("ops", "https://ops.example", b"x" * 16)}
    return Judge(counted.read, sources, hooks, answers or Answers())


def ask(*checks: Check, memory: Any = None, step: int = 1, route: Route = ROUTE) -> Question:
    memory = json.loads(json.dumps(memory or {}))
    return Question("digits-9", "digits", step, 30.0, route, "1", ("2",), checks, memory)


async def test_own_counts_are_judged_and_requests_told_by_variant(counted: Counted) -> None:
    counted.requests(1, ok=900)
    counted.requests(2, ok=90, error=10)
    said = await judge(counted).assess(ask(ERRORS, replace(ERRORS, name="more", compare=Compare.RATIO, maximum=2.0)))
    assert [verdict.kind for verdict in said.verdicts] == [FAIL, FAIL]
    assert said.verdicts[0].reason == "error_rate 0.1 (100 requests) is above 0.05"
    assert (said.requests, said.mirrored) == ({"1": 900, "2": 100}, 0)


async def test_other_epochs_other_models_and_direct_requests_are_not_of_the_split(counted: Counted) -> None:
    counted.requests(2, error=100, epoch=3)
    counted.requests(2, error=100, direct=True)
    counted.requests(2, ok=100)
    said = await judge(counted).assess(ask(ERRORS))
    assert (said.verdicts[0].kind, said.requests["2"]) == (PASS, 100)


async def test_a_step_in_the_same_epoch_begins_at_nought(counted: Counted) -> None:
    counted.requests(2, error=100)
    first = await judge(counted).assess(ask(ERRORS))
    second = judge(counted)
    begun = await second.assess(ask(ERRORS, memory=first.memory, step=2))
    assert (begun.verdicts[0].kind, begun.requests["2"]) == (NO_DATA, 0)
    counted.requests(2, ok=60)
    later = await second.assess(ask(ERRORS, memory=begun.memory, step=2))
    assert (later.verdicts[0].kind, later.requests["2"]) == (PASS, 60)


async def test_a_step_in_a_new_epoch_counts_from_its_first_request(counted: Counted) -> None:
    counted.requests(2, error=100)
    first = await judge(counted).assess(ask(ERRORS))
    counted.requests(2, ok=60, epoch=5)
    said = await judge(counted).assess(ask(ERRORS, memory=first.memory, step=2, route=replace(ROUTE, epoch=5)))
    assert (said.verdicts[0].kind, said.requests["2"]) == (PASS, 60)


async def test_without_weight_the_requests_that_a_rule_sent_count_from_the_steps_begin(counted: Counted) -> None:
    cohort = replace(ROUTE, variants=(Variant("1", 1, 1_000_000), Variant("2", 2, 0)))
    counted.requests(2, error=50, direct=True)
    court = judge(counted)
    begun = await court.assess(ask(ERRORS, route=cohort))
    assert begun.verdicts[0].kind is NO_DATA
    counted.requests(2, error=50, direct=True)
    later = await court.assess(ask(ERRORS, route=cohort, memory=begun.memory))
    assert (later.verdicts[0].kind, later.requests["2"]) == (FAIL, 50)


async def test_fallbacks_are_counted_from_the_steps_begin(counted: Counted) -> None:
    counted.fallbacks(70)
    check = replace(ERRORS, metric="fallback_rate")
    court = judge(counted)
    begun = await court.assess(ask(check))
    counted.requests(2, ok=90, error=10)
    counted.fallbacks(10)
    later = await court.assess(ask(check, memory=begun.memory))
    assert later.verdicts[0].numbers["value"] == 0.1


async def test_what_a_shadow_step_has_shown_holds_where_nothing_is_mirrored_any_more(counted: Counted) -> None:
    flips = Check("flips", metric="shadow_flip_rate", maximum=0.05, interval_seconds=0.0)
    shadow = replace(ROUTE, mirrors=(Mirror(2, variant="2"),))
    counted.mirrored(98, 2)
    court = judge(counted)
    first = await court.assess(ask(flips, route=shadow))
    assert (first.verdicts[0].kind, first.mirrored) == (PASS, 100)
    later = await court.assess(ask(flips, memory=first.memory, step=2, route=replace(ROUTE, epoch=5)))
    assert later.verdicts[0].kind is PASS
    assert later.verdicts[0].reason.startswith("in step 2: shadow_flip_rate 0.02")
    nobody = await judge(counted).assess(ask(flips, step=2, route=replace(ROUTE, epoch=5)))
    assert nobody.verdicts[0].kind is NO_DATA


async def test_a_flip_rate_is_held_against_what_stable_gave_beside_itself(counted: Counted) -> None:
    flips = Check("flips", metric="shadow_flip_rate", maximum=0.02, compare=Compare.DIFFERENCE, interval_seconds=0.0)
    floor = replace(ROUTE, mirrors=(Mirror(1, variant="noise-floor", against="1"),))
    counted.mirrored(95, 5, to=(1, "noise-floor"))
    court = judge(counted)
    first = await court.assess(ask(route=floor))
    assert first.mirrored == 100
    shadow = replace(ROUTE, mirrors=(Mirror(2, variant="2", against="1"),))
    begun = await court.assess(ask(flips, memory=first.memory, step=2, route=shadow))
    counted.mirrored(94, 6)
    said = await court.assess(ask(flips, memory=begun.memory, step=2, route=shadow))
    assert said.verdicts[0].kind is PASS
    assert said.verdicts[0].numbers["stable"] == 0.05
    counted.mirrored(0, 20)
    worse = await court.assess(ask(flips, memory=said.memory, step=2, route=shadow))
    assert worse.verdicts[0].kind is FAIL
    nobody = await judge(counted).assess(ask(flips, step=2, route=shadow))
    assert (nobody.verdicts[0].kind, nobody.verdicts[0].reason) == (NO_DATA, "stable: the noise floor was not measured")


async def test_a_mirrored_candidate_without_weight_is_judged_by_its_mirrored_requests(counted: Counted) -> None:
    variants = (Variant("1", 1, 1_000_000), Variant("2", 2, 0))
    counted.mirrored(100, 0)
    said = await judge(counted).assess(
        ask(ERRORS, route=replace(ROUTE, variants=variants, mirrors=(Mirror(2, variant="2"),)))
    )
    assert (said.verdicts[0].kind, said.requests["2"]) == (PASS, 0)


async def test_failures_are_counted_across_a_restart(counted: Counted) -> None:
    counted.requests(2, error=100)
    check = replace(ERRORS, tolerate=2)
    kinds, memory = [], None
    for _ in range(3):
        said = await judge(counted).assess(ask(check, memory=memory))
        kinds.append(said.verdicts[0].kind)
        memory = said.memory
    assert kinds == [VerdictKind.INCONCLUSIVE, VerdictKind.INCONCLUSIVE, FAIL]


async def test_memory_stays_the_same_while_nothing_is_to_be_remembered(counted: Counted) -> None:
    counted.requests(2, ok=100)
    court = judge(counted)
    first = await court.assess(ask(ERRORS))
    counted.requests(2, ok=100)
    assert (await court.assess(ask(ERRORS, memory=first.memory))).memory == json.loads(json.dumps(first.memory))


async def test_between_two_measurements_the_last_verdict_is_given(counted: Counted) -> None:
    counted.requests(2, ok=100)
    court, check = judge(counted), replace(ERRORS, interval_seconds=60.0)
    first = await court.assess(ask(check))
    counted.requests(2, error=100)
    second = await court.assess(ask(check, memory=first.memory))
    assert [said.verdicts[0].kind for said in (first, second)] == [PASS, PASS]
    assert second.requests["2"] == 200


async def test_own_counts_that_said_nothing_are_looked_at_again_at_once(counted: Counted) -> None:
    court, check = judge(counted), replace(ERRORS, interval_seconds=60.0)
    first = await court.assess(ask(check))
    counted.requests(2, ok=100)
    second = await court.assess(ask(check, memory=first.memory))
    assert [said.verdicts[0].kind for said in (first, second)] == [NO_DATA, PASS]


async def test_a_slow_source_holds_up_no_other_check_and_answers_later(counted: Counted) -> None:
    counted.requests(2, ok=90, error=10)
    release = asyncio.Event()

    async def answer(asked: Asked) -> Said:
        await release.wait()
        return Said(200, b"0.01")

    async with site(answer) as there:
        court, check = judge(counted, there.url), replace(PROM, query="$")
        first = await court.assess(ask(check, ERRORS))
        assert [verdict.kind for verdict in first.verdicts] == [NO_DATA, FAIL]
        assert first.verdicts[0].reason == "no answer yet"
        release.set()
        later = await court.assess(ask(check, ERRORS, memory=first.memory))
        await court.close()
    assert later.verdicts[0].kind is PASS
    assert len(there.asked) == 1


async def test_both_arms_are_asked_where_a_check_compares(counted: Counted) -> None:
    counted.requests(1, ok=900)
    counted.requests(2, ok=100)
    async with site(lambda asked: Said(200, b'{"e": %s}' % (b"0.5" if asked.target == "/2" else b"0.4"))) as there:
        court = judge(counted, there.url)
        check = replace(PROM, query="e", compare=Compare.DIFFERENCE)
        said = await court.assess(ask(check))
        await court.close()
    assert {asked.target for asked in there.asked} == {"/1", "/2"}
    assert said.verdicts[0].reason.endswith("0.4 (900 requests) of stable: the difference 0.1 is above 0.05")


async def test_a_good_number_from_elsewhere_says_nothing_without_requests(counted: Counted) -> None:
    async with site(lambda asked: Said(200, b"0.0")) as there:
        court = judge(counted, there.url)
        said = await court.assess(ask(replace(PROM, query="$")))
        await court.close()
    assert said.verdicts[0].kind is NO_DATA
    assert said.verdicts[0].reason == "variant 2 has 0 of at least 50 requests"


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (Reply(204), PASS, "ops says yes"),
        (Reply(403, "change freeze"), FAIL, "ops says no (change freeze)"),
        (Reply(409), NO_DATA, "ops says not yet"),
        (Reply(500), ERROR, "ops answered 500"),
        (Reply(302), ERROR, "ops answered 302"),
        (Reply(None, "no answer within 5 s"), ERROR, "ops: no answer within 5 s"),
    ],
)
async def test_a_gate_passes_only_by_a_yes(counted: Counted, reply: Reply, kind: VerdictKind, reason: str) -> None:
    answers = Answers(reply)
    said = await judge(counted, answers=answers).assess(ask(GATE))
    assert (said.verdicts[0].kind, said.verdicts[0].reason) == (kind, reason)
    told = json.loads(answers.sent[0].body)
    assert (told["kind"], told["rollout"], told["step"], told["candidates"]) == ("gate", "digits-9", 2, ["2"])


@pytest.mark.parametrize(
    ("check", "why"),
    [
        (ERRORS, None),
        (GATE, None),
        (replace(GATE, source="dev"), "the settings have no [hooks.dev]; there are: ops"),
        (replace(PROM, source="nobody"), "the settings have no [sources.nobody]; there are: prom"),
        (replace(ERRORS, kind=CheckKind.SEQUENTIAL), "sequential checks are not offered here"),
        (replace(ERRORS, maximum=None), "max: needs `max`, `min` or both"),
    ],
)
def test_what_cannot_be_measured_here_is_refused(counted: Counted, check: Check, why: str | None) -> None:
    found = judge(counted).refuses(check)
    assert found is None if why is None else why in (found or "")


# ---- evidence -------------------------------------------------------------------------------------------------------


def evidence_question(now: float, memory: Any = None, step: int = 0, **analysis: Any) -> Question:
    analysis = {"warmup": {"seconds": 0, "requests": 0}, **analysis}
    spec = parse_spec({"model": "digits", "to": 2, "steps": [{"weight": 10}, {"weight": 50}], "analysis": analysis})
    return replace(ask(memory=memory, step=step), policy=spec.analysis, steps=spec.steps, now=now)


async def test_evidence_is_gathered_look_by_look_and_what_it_rests_on_is_logged(counted: Counted) -> None:
    court = judge(counted)
    first = await court.assess(evidence_question(100.0))
    assert [(v.check, v.kind) for v in first.verdicts] == [("evidence", NO_DATA)]
    counted.requests(1, ok=900)
    counted.requests(2, ok=60, error=40)
    said = await court.assess(evidence_question(101.0, first.memory))
    assert said.verdicts[0].kind is FAIL
    assert said.verdicts[0].reason.startswith("errors: evidence of harm ")
    (line,) = said.log
    assert (line["number"], line["step"], line["verdict"]["decision"]) == (1, 0, "abort")
    assert line["blocks"][0]["candidate"]["errors"] == 40


async def test_another_process_goes_on_with_the_same_evidence(counted: Counted) -> None:
    counted.requests(2, ok=5)
    memory = (await judge(counted).assess(evidence_question(100.0))).memory
    looks = []
    for court in (judge(counted), judge(counted)):
        said = await court.assess(evidence_question(161.0, memory))
        looks.append((said.verdicts, said.memory, said.log))
    assert looks[0] == looks[1]


async def test_evidence_that_is_gone_or_of_another_release_ends_the_rollout(counted: Counted) -> None:
    court = judge(counted)
    memory = dict((await court.assess(evidence_question(100.0))).memory or {})
    other = {**memory, "evidence": {**memory["evidence"], "version": 99}}
    gone = {name: value for name, value in memory.items() if name != "evidence"}
    for lost in (other, gone):
        said = await court.assess(evidence_question(101.0, lost))
        assert said.verdicts[0].kind is FAIL
        assert "evidence lost" in said.verdicts[0].reason
        assert (said.memory or {}).get("evidence") == lost.get("evidence")


async def test_counters_that_cannot_be_read_are_an_error_and_nothing_is_forgotten(counted: Counted) -> None:
    def broken() -> Any:
        raise OSError(5, "Input/output error")

    court = Judge(broken, Sources({}), {}, Answers())
    with pytest.raises(Unavailable, match="Input/output error"):
        await court.assess(evidence_question(100.0))


async def test_many_rollouts_that_look_at_the_same_moment_share_one_reading(counted: Counted) -> None:
    readings = 0

    def read() -> Any:
        nonlocal readings
        readings += 1
        return counted.read()

    court = Judge(read, Sources({}), {}, Answers())
    await asyncio.gather(*(court.assess(evidence_question(100.0)) for _ in range(20)))
    assert readings == 1
    await court.assess(evidence_question(101.0))
    assert readings == 2


async def test_what_was_promoted_is_held_to_its_limits(counted: Counted) -> None:
    promoted = replace(ROUTE, variants=(Variant("2", 2, 1_000_000),), epoch=5)
    court = judge(counted)

    lines: list[Any] = []

    async def look(now: float, memory: Any) -> Any:
        asked = evidence_question(now, memory, watch={"errors": 0.05})
        found = await court.watch(
            replace(asked, route=promoted, stable="2", candidates=(), checks=(), window_seconds=600.0)
        )
        lines.extend(json.loads(json.dumps(found.log)))
        return found

    counted.requests(2, ok=100, epoch=5)
    said = await look(100.0, None)
    counted.requests(2, ok=98, error=2, epoch=5)
    said = await look(101.0, said.memory)
    assert (said.verdicts[0].check, said.verdicts[0].kind) == ("watch", PASS)
    said = await look(101.5, said.memory)
    assert said.verdicts[0].kind is PASS  # nothing new
    counted.requests(2, ok=60, error=40, epoch=5)
    said = await look(103.0, said.memory)
    assert said.verdicts[0].kind is FAIL
    assert said.verdicts[0].reason == "errors: the limit is not kept any more"
    policy = evidence_question(0.0, watch={"errors": 0.05}).policy
    assert policy is not None
    again = replay(policy, (), json.loads(json.dumps(said.memory)), lines)
    assert (again.differs, again.kind, again.rows) == ("", "fail", 2)
    lines[0]["blocks"][0]["stable"]["errors"] = 50
    assert replay(policy, (), dict(said.memory), lines).differs.startswith("line 1000000001: ")
    assert replay(policy, (), dict(said.memory), lines[1:]).differs.startswith("line 1000000001 is missing")
