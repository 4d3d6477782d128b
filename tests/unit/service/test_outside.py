"""`[sources.NAME]` and `[hooks.NAME]`: where they may stand, what they may say, and that no secret is shown."""

from pathlib import Path

import pytest

from router.errors import FailedPrecondition
from router.targets import parse_target
from service import preflight, settings
from service.elsewhere import upstreams_of
from service.outside import secret_variable
from service.settings import Settings, SettingsError, hook_secret, load, secret

HOOK = '[hooks.ops]\nurl = "https://ops.example/in"\n'
OTHER = '[upstreams.other]\nurl = "http://triton:8000"\n'
DIGITS = """
[upstreams.other.models.digits]
inputs = [{ name = "x", datatype = "FP32", shape = [-1, 64] }]
outputs = [{ name = "y", datatype = "INT64", shape = [-1] }]
"""
SOURCE = '[sources.prom]\nkind = "prometheus"\nurl = "http://prom:9090"\n'


@pytest.fixture(autouse=True)
def an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "HOOKS", "SOURCES", "HOOK_OPS_SECRET", "SOURCE_PROM_TOKEN", "UPSTREAM_OTHER_TOKEN"):
        monkeypatch.delenv(f"SERIN_{name}", raising=False)


def given(text: str) -> Settings:
    Path("serin.toml").write_text(text)
    return load({})


def test_tables_are_read_from_the_file() -> None:
    found = given(f'workers = 2\n{HOOK}allow_private = true\nevents = ["*"]\n{SOURCE}')
    assert found.hooks["ops"].url == "https://ops.example/in"
    assert (found.hooks["ops"].allow_private, found.hooks["ops"].events) == (True, ("*",))
    assert (found.sources["prom"].kind, found.sources["prom"].timeout_seconds) == ("prometheus", 5.0)
    assert found.origin("hooks") == "serin.toml"


def test_tables_reach_a_child_process_as_they_are() -> None:
    found = given(HOOK + SOURCE)
    assert Settings(**found.model_dump(mode="json")).model_dump() == found.model_dump()


def test_the_environment_holds_no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIN_HOOKS", "nonsense")
    assert given(HOOK).hooks.keys() == {"ops"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OTHER.replace("8000", "8000/v2?x=1"), "serin.toml: upstreams.other.url: must end before any query"),
        (OTHER.replace("http:", "file:"), "serin.toml: upstreams.other.url: must be an http:// or https:// URL"),
        (OTHER + "max_connections = 0\n", "serin.toml: upstreams.other.max_connections: should be greater than or"),
        (
            OTHER + DIGITS.replace("FP32", "F32"),
            "serin.toml: upstreams.other.models.digits.inputs.0.datatype: String should match",
        ),
        (OTHER + DIGITS.replace("-1", "-2"), "serin.toml: upstreams.other.models.digits.inputs.0.shape.0: should be"),
        (OTHER + DIGITS.replace("outputs", "output"), "serin.toml: upstreams.other.models.digits.outputs: Field requ"),
        (HOOK + "secret = 'x'\n", "serin.toml: unknown setting 'hooks.ops.secret'; did you mean 'secret_file'?"),
        (
            '[sources.prom]\nurl = "http://p"\n',
            "serin.toml: sources.prom.kind: Field required",
        ),
        (SOURCE.replace("http:", "ftp:"), "serin.toml: sources.prom.url: must be an http:// or https:// URL"),
        (HOOK.replace("//", "//user:word@"), "serin.toml: hooks.ops.url: must hold no password"),
        (HOOK.replace("ops.example", "ops.example:99999"), "serin.toml: hooks.ops.url: is no URL"),
        (HOOK.replace("hooks.ops", 'hooks."o p"'), "serin.toml: hooks.o p: must match"),
        (HOOK + "timeout_seconds = 600\n", "serin.toml: hooks.ops.timeout_seconds: should be less than or equal to 60"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_path(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        given(text)
    assert refused.value.message.startswith(message)


def test_a_password_is_not_repeated_by_the_refusal() -> None:
    with pytest.raises(SettingsError) as refused:
        given(HOOK.replace("//", "//user:hunter22@"))
    assert "hunter22" not in refused.value.message


def test_a_secret_comes_from_its_file_or_else_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("secret").write_bytes(b"sixteen bytes or more\n")
    monkeypatch.setenv("SERIN_HOOK_OPS_SECRET", "from the environment")
    assert hook_secret(given(f'{HOOK}secret_file = "secret"\n'), "ops") == b"sixteen bytes or more"
    assert hook_secret(given(HOOK), "ops") == b"from the environment"
    assert secret("sources", "prom", None) == b""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("", "hooks.ops: has no secret; name a secret_file, or set SERIN_HOOK_OPS_SECRET"),
        ('secret_file = "short"\n', "hooks.ops: its secret has fewer than 16 bytes"),
        ('secret_file = "none"\n', "hooks.ops: none: cannot be read: FileNotFoundError"),
    ],
)
def test_serin_does_not_start_with_a_hook_that_cannot_be_signed(more: str, message: str) -> None:
    Path("short").write_text("short")
    with pytest.raises(SettingsError) as refused:
        preflight.require_secrets(given(HOOK + more))
    assert refused.value.message == message


def test_the_variable_of_a_secret_is_made_of_letters_and_digits() -> None:
    assert secret_variable("hooks", "ops-eu.1") == "SERIN_HOOK_OPS_EU_1_SECRET"
    assert secret_variable("sources", "prom") == "SERIN_SOURCE_PROM_TOKEN"


def test_the_reference_explains_both_tables() -> None:
    page = settings.reference()
    assert "`[sources.NAME]`" in page
    assert "`[hooks.NAME]`" in page
    assert "--hooks" not in page


async def test_an_upstream_is_ready_to_be_asked_with_its_token_that_nothing_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SERIN_UPSTREAM_OTHER_TOKEN", "abc123")
    found = given(OTHER.replace("8000", "8000/base/"))

    upstreams = upstreams_of(found)
    upstream = upstreams.named(parse_target("other#digits"))
    await upstreams.close()

    assert (upstream.url, upstream.token) == ("http://triton:8000/base", "abc123")
    assert "abc123" not in repr(upstream)
    with pytest.raises(FailedPrecondition, match=r"there is no \[upstreams.evil\]"):
        upstreams.named(parse_target("evil#digits"))


async def test_what_a_model_elsewhere_takes_may_be_said_here() -> None:
    upstreams = upstreams_of(given(OTHER + DIGITS))
    said = upstreams.named(parse_target("other#digits")).signatures
    await upstreams.close()
    assert said == {
        "digits": {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}],
            "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1]}],
        }
    }


def test_a_token_of_an_upstream_that_no_header_can_hold_is_refused() -> None:
    Path("token").write_bytes(b"abc\r\nx: y")
    with pytest.raises(SettingsError, match=r"upstreams.other: its token is not printable ASCII"):
        upstreams_of(given(OTHER + 'token_file = "token"\n'))
