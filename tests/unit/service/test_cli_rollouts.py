"""`serin rollout` and `serin apply`: what they ask of the gateway, what they say, how they leave."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from router.errors import FailedPrecondition, InvalidArgument, NotFound, SerinError, Unavailable
from router.phases import PEOPLE, Move, Phase
from router.rollout import Rollout, Seen
from router.rollout_views import rollout_document, summary_document
from router.spec import parse_spec
from router.verdict import Verdict, VerdictKind
from service.cli import launching, options, rollout_text, run, steps, waiting, watch
from service.cli.explain import sentences
from service.settings import Settings
from tests.unit.router.rollouts import START, in_phase

Document = dict[str, Any]

EVENT: Document = {
    "id": 4,
    "at": "2026-01-02T03:04:05.678Z",
    "revision": 3,
    "actor": "serin",
    "kind": "rollout.step",
    "model": "digits",
    "reason": "contract: \x1b[2J identical",
    "rollout": "digits-2",
    "before": None,
    "after": {"rollout": "digits-2", "phase": "progressing", "step": 1, "steps": 3, "label": "weight 1 %"}
    | {"weights_ppm": {"1": 990_000, "2": 10_000}},
}
PAIR: Document = {
    "differs": True,
    "distance": "inf",
    "body": "00c0ffee",
    "outputs": {
        "label": {
            "distance": "inf",
            "rows": 2,
            "rows_different": 1,
            "stable": {"shape": [2], "data": [7, 1]},
            "candidate": {"shape": [2]},
        }
    },
}
SEEN: Document = {
    "notices": ["worker 0: exposure used up"],
    "exposure": {"limits": {"requests": {"used": 40, "allowed": 40}}, "lifted": False},
    "pairs": [{"variant": "2", "version": 2, "pairs": [PAIR, {"differs": True, "distance": 1.0, "cut": True}]}],
}
VERDICTS = (
    Verdict(VerdictKind.NO_DATA, "errors", "2 has 3 of at least 50 requests", {"value": 0.0, "requests": 3}),
    Verdict(VerdictKind.PASS, "slower", "latency_p99_seconds 0.9 is at most 1.5", {"value": 0.9}),
)


def told(rollout: Rollout) -> Document:
    document = rollout_document(rollout, None, START)
    return {**document, **SEEN, "events": [EVENT], "applied": 2, "workers": 2}


def standing(phase: Phase, **more: Any) -> Document:
    """A rollout in a phase, as the gateway tells it."""
    found = in_phase(phase, **more)
    seen = Seen(VERDICTS, {"1": 297, "2": 3}, 0)
    return told(type(found)(**{name: getattr(found, name) for name in found.__slots__} | {"seen": seen}))


class FakeAdmin:
    """Answers with `found`, the later calls of `rollout_by_id` with `later`; an error in `later` is raised."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.found = standing(Phase.PROGRESSING)
        self.later: list[Document | SerinError] = []
        self.error: SerinError | None = None

    def rollout_by_id(self, identity: str) -> Document:
        self.calls.append(("rollout_by_id", identity))
        answer = self.later.pop(0) if self.later else self.found
        if isinstance(answer, SerinError):
            raise answer
        return answer

    def rollout_history(self, identity: str, after: int, limit: int) -> Document:
        self.calls.append(("rollout_history", identity, after, limit))
        return {"events": [EVENT] * (limit if after == 0 else 1), "next_after": after + 4}

    def rollouts(self, before: int | None, limit: int, model: str | None) -> Document:
        return {"rollouts": [summary_document(in_phase(Phase.PAUSED))], "next_before": None}

    def rollout_pairs(self, identity: str) -> Document:
        return {"mirrors": SEEN["pairs"]}

    def rollout_schema(self) -> Document:
        return {"title": "Serin rollout"}

    def close(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Document:
            self.calls.append((name, *arguments, *([named] if named else [])))
            if self.error is not None:
                raise self.error
            return self.found

        return call


@pytest.fixture(autouse=True)
def admin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeAdmin:
    monkeypatch.chdir(tmp_path)
    for name in (*Settings.model_fields, "config"):
        monkeypatch.delenv(f"SERIN_{name.upper()}", raising=False)
    fake = FakeAdmin()
    monkeypatch.setattr(options.AdminClient, "at", lambda url, actor="": fake)
    monkeypatch.setattr(waiting.time, "sleep", lambda seconds: None)
    return fake


WORDS = [
    ["rollout", "start", "digits", "--to", "2"],
    ["rollout", "status", "digits"],
    ["rollout", "status", "digits", "--id", "digits-2"],
    ["rollout", "explain", "digits"],
    ["rollout", "pairs", "digits"],
    ["rollout", "history", "digits"],
    ["rollout", "list"],
    ["rollout", "schema"],
    *(["rollout", str(move), "digits"] for move in PEOPLE if move is not Move.PROMOTE_STEP),
]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_every_word_says_something_to_people_and_json_to_programs(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 0
    text = capsys.readouterr().out
    assert "digits" in text or words[1] in ("schema", "history", "pairs")
    assert "\x1b" not in text
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_refusal_is_one_line_and_code_1(
    words: list[str], admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[1] in ("list", "schema") or "--id" in words:
        return
    admin.error = FailedPrecondition("cannot do that while paused")
    assert run(words) == 1
    assert capsys.readouterr().err == "serin: cannot do that while paused\n"


def test_a_move_sends_its_word_and_its_reason(admin: FakeAdmin) -> None:
    run(["rollout", "abort", "digits", "--reason", "enough"])
    assert admin.calls == [("move_rollout", "digits", "abort", "enough")]


def test_promote_says_which_candidate_and_whether_one_step_only(admin: FakeAdmin) -> None:
    run(["rollout", "promote", "digits"])
    run(["rollout", "promote", "digits", "--step"])
    run(["rollout", "promote", "digits", "--to", "3"])
    assert [call[3:] for call in admin.calls] == [("",), ("", {"step": True}), ("", {"to": "3"})]


def test_a_history_is_read_to_its_end(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    run(["rollout", "history", "digits", "--id", "digits-2", "--json"])
    assert len(json.loads(capsys.readouterr().out)) == 201
    assert [call[2] for call in admin.calls] == [0, 4]


# Documents


def test_apply_puts_the_document_of_a_file_with_the_reason(admin: FakeAdmin, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: digits\nto: 2\n")
    assert run(["apply", "-f", "a.yaml", "--reason", "nightly", "--if-match", "7"]) == 0
    assert admin.calls == [("apply_rollout", "digits", {"model": "digits", "to": 2, "reason": "nightly"}, 7)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("to: 2\n", "bad.yaml: model: required here"),
        ("- 1\n", "bad.yaml: a rollout is an object"),
        ("to: 2\nto: 3\n", "bad.yaml: to: is there twice"),
        ("to: [\n", "bad.yaml: not YAML or JSON: line"),
    ],
)
def test_a_file_that_is_no_document_is_refused_by_its_name(
    text: str, told: str, admin: FakeAdmin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert run(["apply", "-f", "bad.yaml"]) == 2
    assert told in capsys.readouterr().err
    assert admin.calls == []


def test_a_file_that_is_not_there_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rollout", "start", "digits", "-f", "nope.yaml"]) == 2
    assert "nope.yaml: cannot be read: No such file or directory" in capsys.readouterr().err


def test_no_file_is_applied_when_one_of_them_is_wrong(admin: FakeAdmin, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("{model: digits, to: 2}")
    (tmp_path / "bad.yaml").write_text("{to: 2}")
    assert run(["apply", "-f", "good.yaml", "-f", "bad.yaml"]) == 2
    assert admin.calls == []


def test_a_flag_goes_before_what_the_file_says(admin: FakeAdmin, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{to: 2, strategy: canary, canary: {weights: [1], pause: 1h}, contract: breaking}")
    run(["rollout", "start", "digits", "-f", "a.yaml", "--to", "3", "--pause", "5s", "--reason", "r"])
    (_, model, sent, match) = admin.calls[0]
    assert (model, match) == ("digits", None)
    assert sent["to"] == 3
    assert sent["canary"] == {"weights": [1], "pause": "5s"}
    assert (sent["contract"], sent["reason"]) == ("breaking", "r")


def sent(*words: str) -> Document:
    """The document that the flags ask for, which Serin honours."""
    admin = FakeAdmin()
    original, options.AdminClient.at = options.AdminClient.at, lambda url, actor="": admin  # type: ignore[assignment, method-assign, misc]
    try:
        assert run(["rollout", "start", "digits", *words]) == 0
    finally:
        options.AdminClient.at = original  # type: ignore[method-assign]
    found: Document = {"model": "digits", **admin.calls[0][2]}
    parse_spec(found)
    return found


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--to 2", {"to": 2}),
        ("--to champion --from 1", {"to": "champion", "from": 1}),
        (
            "--to 2 --strategy shadow --noise-floor 500",
            {"strategy": "shadow", "shadow": {"noise_floor": 500}},
        ),
        ("--to 2 --steps 1,5,25", {"strategy": "canary", "canary": {"weights": [1, 5, 25]}}),
        (
            "--to 2 --steps 1,12.5% --pause 10m --requests 500 --approval",
            {"canary": {"weights": [1, 12.5], "pause": "10m", "requests": 500, "approval": True}},
        ),
        ("--to 2 --pause 1m", {"canary": {"pause": "1m"}}),
        (
            "--to 2 --strategy blue-green --header x-test=1 --share 10 --requests 5 --bake 1m --no-approval",
            {
                "blue-green": {
                    "header": "x-test",
                    "value": "1",
                    "shadow": "10",
                    "requests": 5,
                    "bake": "1m",
                    "approval": False,
                }
            },
        ),
        (
            "--strategy ab --to 2=20 --to new:3=20 --pause 7d",
            {"to": [{"version": 2, "weight": 20}, {"version": 3, "weight": 20, "name": "new"}], "ab": {"pause": "7d"}},
        ),
        ("--to 2 --strategy shadow --share 50", {"strategy": "shadow", "shadow": {"share": "50"}}),
        ("--to 2 --strategy cohort --header x-beta", {"cohort": {"header": "x-beta"}}),
        ("--to 2 --strategy instant --contract identical", {"strategy": "instant", "contract": "identical"}),
        ("--to 2 --no-checks --max-duration 2h --rollback-window 0s", {"checks": [], "max_duration": "2h"}),
    ],
)
def test_flags_become_a_document(words: str, wanted: Document) -> None:
    found = sent(*words.split())
    assert {name: found[name] for name in wanted} == wanted


def test_steps_of_different_kinds_are_one_list() -> None:
    text = "shadow 2000 requests, 1 %, 5% 10m, cohort x-beta=yes approval, 25% for 1h 30 requests, pause 5m, 100 %"
    found = sent("--to", "2", "--steps", text)
    assert found["strategy"] == "steps"
    assert found["steps"] == [
        {"shadow": 100, "requests": 2000},
        {"weight": 1, "pause": "5m"},
        {"weight": 5, "pause": "10m"},
        {"cohort": {"header": "x-beta", "value": "yes"}, "approval": True},
        {"weight": 25, "pause": "1h", "requests": 30},
        {"pause": "5m"},
        {"weight": 100},
    ]


def test_a_preview_may_mirror_and_a_step_may_go_unchecked() -> None:
    assert steps.steps("preview x-qa shadow 10% 20 requests, preview approval unchecked, switch 1m", {}) == [
        {"preview": {"header": "x-qa"}, "shadow": 10, "requests": 20},
        {"preview": {}, "approval": True, "checks": False},
        {"switch": True, "pause": "1m"},
    ]


def test_checks_are_limits_of_the_number_of_its_ratio_or_of_its_difference() -> None:
    found = steps.checks(
        ["error_rate<=0.01", "latency_p99_seconds<=1.5x", "error_rate<=+0.002", "class_share[7]>=0.05<=0.2"]
    )
    assert [check["name"] for check in found] == ["error_rate", "latency_p99_seconds", "error_rate_2", "class_share"]
    assert [check["compare"] for check in found] == ["value", "ratio", "difference", "value"]
    assert found[3] == {"name": "class_share", "metric": "class_share", "label": "7", "compare": "value"} | {
        "min": 0.05,
        "max": 0.2,
    }


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--to 2 --steps 1,,5",
        "--to 2 --steps 1,five",
        "--to 2 --steps cohort",
        "--to 2 --steps 1,5 --strategy shadow",
        "--to 2 --steps 1,100 --share 5",
        "--to 2 --strategy instant --pause 5m",
        "--to 2 --to 3",
        "--to 2 --check error_rate",
        "--to 2 --check error_rate<=1.2.3",
        "--to 2 --check error_rate<=0.1>=1x",
        "--to 2 --check error_rate<=0.1 --no-checks",
    ],
)
def test_flags_that_make_no_sense_are_refused_before_anything_is_asked(
    words: str, admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rollout", "start", "digits", *words.split()]) == 2
    assert capsys.readouterr().err.startswith("serin: ")
    assert admin.calls == []


# Waiting


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.WINDOW, 0),
        (Phase.PROMOTED, 0),
        (Phase.ABORTED, 3),
        (Phase.ROLLED_BACK, 3),
        (Phase.SUPERSEDED, 3),
    ],
)
def test_wait_and_watch_leave_with_what_became_of_it(phase: Phase, code: int, admin: FakeAdmin) -> None:
    admin.later = [standing(Phase.PROMOTING), standing(phase)]
    assert run(["rollout", "wait", "digits"]) == code
    admin.later = [standing(Phase.PROMOTING), standing(phase)]
    assert run(["rollout", "watch", "digits"]) == code


def test_wait_gives_up_with_4(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rollout", "wait", "digits", "--timeout", "0s"]) == 4
    assert "progressing, step 1 of 3 (weight 1 %)" in capsys.readouterr().out


def test_wait_rides_out_a_controller_that_restarts(admin: FakeAdmin) -> None:
    admin.later = [Unavailable("nobody"), Unavailable("nobody"), standing(Phase.WINDOW)]
    assert run(["rollout", "wait", "digits"]) == 0


def test_wait_stays_with_the_rollout_that_it_began_with(admin: FakeAdmin) -> None:
    admin.later = [standing(Phase.SUPERSEDED)]
    run(["rollout", "wait", "digits"])
    assert admin.calls == [("rollout", "digits"), ("rollout_by_id", admin.found["id"])]


def test_wait_for_a_model_without_a_rollout_is_refused_at_once(admin: FakeAdmin) -> None:
    admin.error = NotFound("digits has had no rollout yet")
    assert run(["rollout", "wait", "digits"]) == 1


@pytest.mark.parametrize("word", ["wait", "watch"])
def test_a_time_that_is_none_is_wrong_usage(word: str) -> None:
    flag = "--timeout" if word == "wait" else "--interval"
    assert run(["rollout", word, "digits", flag, "soon"]) == 2


# What people read


@pytest.mark.parametrize("word", ["status", "explain"])
def test_what_workers_say_what_is_used_up_and_the_worst_pair_are_told(
    word: str, admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.found = {**admin.found, "noise_floor": {"requests": 500, "flipped": 4, "flip_rate": 0.008}}
    assert run(["rollout", word, "digits"]) == 0
    text = capsys.readouterr().out
    assert "worker 0: exposure used up" in text
    assert "40 of 40 requests" in text
    assert "0.8 % of stable's own answers differ (4 of 500 requests" in text
    assert "inf" in text


def test_a_pair_is_shown_by_what_was_kept_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rollout", "pairs", "digits"]) == 0
    whole, bare = capsys.readouterr().out.splitlines()[1:]
    assert whole.split() == ["2", "00c0ffee", "label", "inf", "1/2", "7,", "1", "2"]
    assert bare.split() == ["2", "(too", "large)", "/"]


@pytest.mark.parametrize("phase", Phase)
def test_a_rollout_explains_itself_in_every_phase(phase: Phase) -> None:
    text = "\n".join(sentences(standing(phase)))
    assert "Started by bob" in text
    assert "{" not in text
    possible = standing(phase)["possible"]
    assert all(f"serin rollout {word.replace('promote_step', 'promote --step')} digits" in text for word in possible)
    assert bool(possible) or "begins another" in text


def test_what_holds_it_is_said_check_by_check() -> None:
    text = "\n".join(
        sentences(standing(Phase.HOLDING, checks=[{"name": "errors", "metric": "error_rate", "max": 0.1}]))
    )
    assert "Check errors has no data, which never passes: 2 has 3 of at least 50 requests." in text
    assert "without evidence it goes no further" in text


@pytest.mark.parametrize("phase", Phase)
def test_the_live_view_shows_every_phase(phase: Phase) -> None:
    shown = io.StringIO()
    Console(file=shown, width=120, color_system=None, force_terminal=False).print(watch.view(standing(phase)))
    text = shown.getvalue()
    assert "digits-" in text
    assert "99 %" in text or phase not in (Phase.PROGRESSING, Phase.HOLDING)
    assert "2 has 3 of at least 50 requests" in text
    assert "\x1b" not in text


def test_without_a_terminal_watch_prints_a_line_for_each_change_only(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.later = [standing(Phase.PROGRESSING)] * 5 + [standing(Phase.HOLDING), standing(Phase.ABORTED)]
    assert run(["rollout", "watch", "digits"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["progressing", "holding", "aborted", standing(Phase.ABORTED)["id"]]


def test_a_line_has_weights_wanted_and_seen() -> None:
    assert "1=99 (seen 99.00) 2=1 (seen 1.00)" in rollout_text.line(standing(Phase.PROGRESSING))


def test_an_event_of_a_rollout_is_brief_in_the_list_of_events() -> None:
    assert rollout_text.brief(EVENT["after"]) == "progressing, step 1/3, 1=99 2=1"
    assert rollout_text.brief({"variants": []}) is None


def test_the_noise_floor_is_a_step_of_its_own() -> None:
    found = steps.steps("noise 500 requests, noise 20% 10 requests, shadow 50% 10 requests", {})
    assert found == [
        {"noise_floor": 100, "requests": 500},
        {"noise_floor": 20, "requests": 10},
        {"shadow": 50, "requests": 10},
    ]


def test_what_a_document_is_made_of_is_not_changed() -> None:
    base: Document = {"to": 2, "canary": {"weights": [1]}}
    given = dict.fromkeys(("source", "strategy", "steps", "pause", "requests", "approval", "deadline", "share"))
    more = dict.fromkeys(("noise_floor", "header", "bake", "until", "max_duration", "rollback_window", "contract"))
    launching.document(base, {**given, **more, "to": (), "checks": (), "no_checks": False, "pause": "3s"})
    assert base == {"to": 2, "canary": {"weights": [1]}}


def test_a_number_that_is_none_is_told() -> None:
    with pytest.raises(InvalidArgument, match="is not a percentage"):
        steps.to(["2=ten"])
