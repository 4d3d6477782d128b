"""`serin feedback`: what it sends, what it says, and how it leaves."""

import json
from collections.abc import Iterator

import httpx
import pytest

from service.cli import run


class FakeGateway:
    """Counts every item but those that say `bad`, and notes what was sent where."""

    def __init__(self) -> None:
        self.bodies: list[list[dict[str, object]]] = []
        self.paths: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(str(request.url))
        items = json.loads(request.content)["feedback"]
        self.bodies.append(items)
        bad = [place for place, item in enumerate(items) if item["assignment"] == "bad"]
        errors = [{"index": place, "code": "INVALID_ARGUMENT", "error": "no token"} for place in bad]
        told = {"counted": len(items) - len(bad), "repeated": 0, "refused": len(bad), "errors": errors}
        return httpx.Response(200, json=told)


@pytest.fixture
def sent(monkeypatch) -> Iterator[FakeGateway]:
    fake = FakeGateway()
    client = httpx.Client

    def made(**given: object) -> httpx.Client:
        return client(transport=httpx.MockTransport(fake), **given)

    monkeypatch.setattr(httpx, "Client", made)
    return fake


def test_one_answer_is_judged_by_its_token(sent, capsys):
    assert run(["feedback", "digits", "--assignment", "t", "--reward", "1", "--url", "http://there"]) == 0
    assert run(["feedback", "digits", "--assignment", "t", "--label", "7", "--url", "http://there"]) == 0
    assert sent.bodies == [[{"assignment": "t", "reward": 1}], [{"assignment": "t", "label": "7"}]]
    assert sent.paths[0] == "http://there/v2/models/digits/feedback"
    assert "1 counted, 0 counted before, 0 refused" in capsys.readouterr().out


def test_a_file_is_sent_in_batches_and_errors_name_its_items(sent, tmp_path, capsys):
    lines = [json.dumps({"assignment": "bad" if row == 700 else "t", "reward": 1}) for row in range(1200)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n\n")
    assert run(["feedback", "digits", "--file", str(tmp_path / "rows.jsonl"), "--url", "http://there"]) == 1
    assert [len(body) for body in sent.bodies] == [500, 500, 200]
    captured = capsys.readouterr()
    assert "1199 counted" in captured.out
    assert "item 701: no token" in captured.err


@pytest.mark.parametrize(
    "words",
    [[], ["--assignment", "t"], ["--assignment", "t", "--label", "7", "--reward", "1"], ["--reward", "1"]],
)
def test_what_is_half_said_is_wrong_usage(sent, words, capsys):
    assert run(["feedback", "digits", *words, "--url", "http://there"]) == 2
    assert sent.bodies == []
    assert "--assignment" in capsys.readouterr().err


def test_a_line_that_is_no_json_is_named(sent, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text("{}\nno\n")
    assert run(["feedback", "digits", "--file", str(tmp_path / "rows.jsonl"), "--url", "http://there"]) == 2
    assert "line 2 is not JSON" in capsys.readouterr().err


def test_nobody_there_is_said_with_the_way_out(capsys):
    assert run(["feedback", "digits", "--assignment", "t", "--reward", "1", "--url", "http://127.0.0.1:1"]) == 2
    assert "--url" in capsys.readouterr().err
