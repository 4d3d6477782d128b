"""The command line: what it asks of the gateway, what it prints, and how it leaves."""

import json
from pathlib import Path
from typing import Any

import pytest

from router.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, SerinError, Unavailable
from service.cli import options, run
from service.settings import Settings

ROUTE = {
    "model": "digits",
    "revision": 7,
    "epoch": 1,
    "salt": "digits",
    "key": {"header": "serin-routing-key", "cookie": None, "parameter": "routing_key"},
    "variants": [
        {"name": "1", "version": 1, "weight": 90, "weight_ppm": 900_000},
        {"name": "canary", "version": 2, "weight": 10, "weight_ppm": 100_000},
    ],
    "rules": [{"header": "x-beta", "value": "1", "variant": "canary"}],
    "aliases": {"stable": 1, "old": 3},
}
APPLIED = {"revision": 8, "applied": 4, "workers": 4, "route": ROUTE}
VERSION = {
    "version": 1,
    "state": "READY",
    "reason": "",
    "digest": "sha256:ab",
    "weight": 90,
    "variants": ["1"],
    "aliases": ["stable"],
    "signature": {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, 64]}], "outputs": []},
    "workers": [{"worker": 0, "state": "READY", "reason": ""}],
}
MODEL = {"name": "digits", "description": "Digits", "error": None, "note": None, "versions": [VERSION], "route": ROUTE}
EVENT = {
    "id": 3,
    "at": "2026-01-01T00:00:00Z",
    "actor": "ann",
    "kind": "route.set",
    "model": "digits",
    "reason": "try \x1b[2J it",
    "before": None,
    "after": ROUTE,
    "revision": 8,
}

SUBJECT = {
    "side": "input",
    "name": "age",
    "critical": True,
    "state": "ok",
    "drifted": False,
    "against": "reference",
    "requests": 1203,
    "reference": 800,
    "psi": 0.0123,
    "js": 0.04,
    "wasserstein": 0.1,
    "share_change": 0.01,
    "noise": 0.05,
    "open_requests": 10,
    "bad": {"missing": 0.001},
    "bad_alarms": [],
}
PAIR = {"stable": "1:1", "candidate": "canary:2", "requests": 900, "evidence": 0.6, "alarm_at": 1000, "differs": ""}
DRIFT = {
    "model": "digits",
    "window": {"requests": 1000, "seconds": 300.0},
    "inputs_drifted": False,
    "subjects": [SUBJECT],
    "comparisons": [PAIR],
}


class FakeAdmin:
    """Answers like a gateway and notes the calls; `error` is raised by each of them."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error: SerinError | KeyboardInterrupt | None = None
        self.url = ""

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "models": {"models": [MODEL]},
            "model": MODEL,
            "load": {"revision": 8, "applied": 4, "workers": 4},
            "unload": {"revision": 8, "applied": 4, "workers": 4},
            "routes": {"routes": [ROUTE]},
            "route": ROUTE,
            "set_route": APPLIED,
            "patch_route": APPLIED,
            "drift": DRIFT,
            "events": {"events": [EVENT], "next_after": 3},
            "follow_events": iter([{**EVENT, "id": 4}]),
            "status": {"revision": 8, "quarantined": [], "workers": []},
            "rescan": {},
            "close": None,
        }

        def call(*arguments: Any, **named: Any) -> Any:
            if name != "close":
                self.calls.append((name, *arguments, *named.values()))
                if self.error is not None:
                    raise self.error
            return answers[name]

        return call


@pytest.fixture(autouse=True)
def admin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeAdmin:
    monkeypatch.chdir(tmp_path)
    for name in (*Settings.model_fields, "config"):
        monkeypatch.delenv(f"SERIN_{name.upper()}", raising=False)
    fake = FakeAdmin()

    def at(url: str, actor: str = "", **how: object) -> FakeAdmin:
        fake.url = url
        return fake

    monkeypatch.setattr(options.AdminClient, "at", at)
    return fake


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "words",
    [
        ["models", "list"],
        ["models", "show", "digits"],
        ["models", "load", "digits:2"],
        ["models", "unload", "digits"],
        ["route", "show"],
        ["route", "show", "digits"],
        ["route", "set", "digits", "1=90", "2=10"],
        ["route", "alias", "digits", "champion=2"],
        ["events"],
        ["assign", "digits", "--key", "user-7"],
        ["assign", "digits", "--key", "user-7", "1=90", "2=10"],
        ["drift", "digits"],
        ["status"],
        ["settings"],
    ],
    ids=" ".join,
)
def test_every_command_prints_a_table_for_people_and_json_for_programs(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 0
    text = capsys.readouterr().out
    assert text
    assert "\x1b" not in text
    assert run([*words, "--json"]) == 0
    assert printed(capsys)


def test_route_set_sends_weights_in_percent_and_the_reason(admin: FakeAdmin) -> None:
    run(["route", "set", "digits", "1=87.5", "canary:2=12.5", "--reason", "first look", "--if-match", "7"])
    body = {
        "variants": [{"version": 1, "weight": 87.5}, {"name": "canary", "version": 2, "weight": 12.5}],
        "reason": "first look",
    }
    assert admin.calls == [("set_route", "digits", body, 7)]


def test_a_version_may_be_an_alias(admin: FakeAdmin) -> None:
    run(["route", "set", "digits", "stable=100"])
    assert admin.calls[0][2]["variants"] == [{"version": "stable", "weight": 100}]


def test_aliases_and_the_key_source_are_merged_with_what_is_recorded_at_that_revision(admin: FakeAdmin) -> None:
    run(["route", "set", "digits", "1=100", "--alias", "champion=2", "--alias", "old=", "--key-header", "X-User"])
    (_, (_, _, body, if_match)) = admin.calls
    assert body["aliases"] == {"stable": 1, "champion": 2}
    assert body["key"] == {"header": "x-user", "cookie": None, "parameter": "routing_key"}
    assert if_match == 7


def test_rules_are_read_with_and_without_a_value(admin: FakeAdmin) -> None:
    run(["route", "set", "digits", "1=100", "--rule", "X-Beta: a: b -> 1", "--rule", "x-any->1"])
    assert admin.calls[0][2]["rules"] == [
        {"header": "x-beta", "value": "a: b", "variant": "1"},
        {"header": "x-any", "variant": "1"},
    ]
    run(["route", "set", "digits", "1=100", "--no-rules"])
    assert admin.calls[1][2]["rules"] == []


def test_an_alias_alone_is_a_patch_that_can_also_take_one_away(admin: FakeAdmin) -> None:
    run(["route", "alias", "digits", "champion=2", "old="])
    assert admin.calls == [("patch_route", "digits", {"aliases": {"champion": 2, "old": None}, "reason": None}, None)]


@pytest.mark.parametrize(
    "words",
    [
        ["route", "set", "digits", "1=90", "2=20"],
        ["route", "set", "digits", "1=abc"],
        ["route", "set", "digits", "1=99.99999", "2=0.00001"],
        ["route", "set", "digits", "nonsense"],
        ["route", "set", "digits"],
        ["route", "set", "digits", "1=100", "--rule", "no arrow"],
        ["route", "set", "digits", "1=100", "--rule", "a -> 1", "--no-rules"],
        ["route", "alias", "digits", "champion=two"],
        ["route", "alias", "digits", "champion=02"],
        ["models", "load", "digits:x"],
        ["models", "push", "nothing.onnx", "--name", "digits"],
        ["assign", "digits", "--key", "k", "1=50"],
        ["assign", "digits"],
        ["status", "--admin-url", "localhost:8002"],
        ["serve", "--workers", "0"],
        ["nonsense"],
        ["--nonsense"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_right_is_exit_code_2_and_asks_for_no_change(
    words: list[str], admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    assert [call for call in admin.calls if call[0] not in ("route", "status")] == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FailedPrecondition("digits:3 is not ready"), 1),
        (NotFound("there is no model 'x'"), 1),
        (Conflict("changed meanwhile"), 1),
        (InvalidArgument("variants: too many"), 2),
        (Unavailable("nothing answers"), 2),
    ],
)
def test_an_error_is_one_line_and_its_kind_decides_the_exit_code(
    error: SerinError, code: int, admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.error = error
    assert run(["route", "set", "digits", "1=100"]) == code
    assert capsys.readouterr().err == f"serin: {error.message}\n"


def test_an_interrupt_leaves_quietly(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.error = KeyboardInterrupt()
    assert run(["status"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_hostile_text_from_the_gateway_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    run(["events", "--follow"])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("subject", "pair", "words"),
    [
        ({"drifted": True, "state": "drifted"}, {}, "drifted"),
        ({"bad": {"missing": 0.2}, "bad_alarms": ["missing"]}, {}, "missing 20%!"),
        ({"bad_alarms": ["out_of_range"], "bad": {}}, {}, "out of range!"),
        ({}, {"differs": "age"}, "canary:2 and 1:1 do not get the same inputs (feature age)"),
    ],
)
def test_drift_leaves_with_3_when_there_is_something_to_look_at(
    subject: dict[str, Any], pair: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    told = {**DRIFT, "subjects": [{**SUBJECT, **subject}], "comparisons": [{**PAIR, **pair}]}
    monkeypatch.setitem(DRIFT, "subjects", told["subjects"])
    monkeypatch.setitem(DRIFT, "comparisons", told["comparisons"])
    assert run(["drift", "digits"]) == 3
    assert words in capsys.readouterr().out


def test_drift_says_how_to_declare_features_where_nothing_is_watched(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setitem(DRIFT, "subjects", [])
    assert run(["drift", "digits"]) == 0
    assert "watch-for-drift.md" in capsys.readouterr().out


def test_followed_events_are_past_ones_and_then_new_ones_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["events", "--follow", "--json"]) == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == [3, 4]


def test_the_address_comes_from_flag_or_settings(admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    run(["status"])
    assert admin.url == "http://127.0.0.1:8002"
    monkeypatch.setenv("SERIN_ADMIN_PORT", "9002")
    run(["status"])
    assert admin.url == "http://127.0.0.1:9002"
    monkeypatch.setenv("SERIN_ADMIN_URL", "https://serin.example/")
    run(["status"])
    assert admin.url == "https://serin.example"
    run(["status", "--admin-url", "http://127.0.0.1:1"])
    assert admin.url == "http://127.0.0.1:1"


def test_an_offline_assignment_agrees_with_the_one_by_the_recorded_route(capsys: pytest.CaptureFixture[str]) -> None:
    run(["assign", "digits", "--key", "user-7", "--json"])
    recorded = printed(capsys)
    run(["assign", "digits", "--key", "user-7", "1=90", "canary:2=10", "--json"])
    assert printed(capsys) == recorded
    assert sum(score["chosen"] for score in recorded["scores"]) == 1


def test_a_variant_without_weight_has_no_score(capsys: pytest.CaptureFixture[str]) -> None:
    run(["assign", "digits", "--key", "k", "1=100", "2=0", "--json"])
    assert [score["score"] is None for score in printed(capsys)["scores"]] == [False, True]


def test_a_push_publishes_and_says_the_new_version_and_its_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "new.onnx").write_bytes(b"onnx")
    assert run(["models", "push", "new.onnx", "--name", "digits"]) == 0
    assert capsys.readouterr().out == "digits:1: READY\n"
    assert (tmp_path / "models/digits/1/model.onnx").read_bytes() == b"onnx"


def test_a_push_without_a_gateway_publishes_all_the_same(
    tmp_path: Path, admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.error = Unavailable("nothing answers")
    (tmp_path / "m").mkdir()
    (tmp_path / "new.onnx").write_bytes(b"onnx")
    assert run(["models", "push", "new.onnx", "--name", "digits", "--models", "m", "--json"]) == 0
    assert printed(capsys) == {"model": "digits", "version": 1, "state": None, "reason": ""}
