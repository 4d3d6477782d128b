"""Settings: where values come from, what a wrong one says, and how many cores there are."""

from pathlib import Path

import pytest

from service import settings
from service.cores import _cpu_limits, cores
from service.outside import HookSettings, SourceSettings, UpstreamSettings
from service.settings import Settings, SettingsError, in_order, load


@pytest.fixture(autouse=True)
def an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (*Settings.model_fields, "config"):
        monkeypatch.delenv(f"SERIN_{name.upper()}", raising=False)
    return tmp_path


def test_nothing_given_means_the_defaults_and_a_worker_for_each_core() -> None:
    found = load({})
    assert (found.http_port, found.admin_port, found.host) == (8000, 8002, "127.0.0.1")
    assert found.workers == settings.available_cores()
    assert found.origin("http_port") == "default"


def test_a_flag_wins_over_the_environment_which_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("serin.toml").write_text("workers = 2\nhttp_port = 1\nadmin_port = 5\n")
    monkeypatch.setenv("SERIN_WORKERS", "3")
    monkeypatch.setenv("SERIN_HTTP_PORT", "2")
    found = load({"workers": "4", "admin_port": None})
    assert (found.workers, found.http_port, found.admin_port) == (4, 2, 5)
    assert [found.origin(name) for name in ("workers", "http_port", "admin_port", "host")] == [
        "--workers",
        "SERIN_HTTP_PORT",
        "serin.toml",
        "default",
    ]


def test_the_file_may_be_named_by_flag_or_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.toml").write_text("workers = 2\n")
    Path("b.toml").write_text("workers = 3\n")
    monkeypatch.setenv("SERIN_CONFIG", "a.toml")
    assert load({}).workers == 2
    assert load({"config": "b.toml"}).workers == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"workers": "many"}, "--workers: should be a valid integer, unable to parse string as an integer, got 'many'"),
        ({"workers": "0"}, "--workers: should be greater than or equal to 1, got '0'"),
        ({"http_port": "70000"}, "--http-port: should be less than or equal to 65535, got '70000'"),
        ({"request_timeout_seconds": "nan"}, "--request-timeout-seconds: should be a finite number, got 'nan'"),
        ({"config": "none.toml"}, "--config: no such file: none.toml"),
        (
            {"faults": "digits:2"},
            "--faults: 'digits:2' says no fault; there are slow, fail, nonfinite, crash, poison, got",
        ),
    ],
)
def test_a_wrong_flag_is_named(flags: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(flags)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIN_WORKERS", "-1")
    with pytest.raises(SettingsError, match=r"^SERIN_WORKERS: should be greater than or equal to 1, got '-1'$"):
        load({})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers = 'x'", "serin.toml: workers: should be a valid integer"),
        ("wrokers = 3", "serin.toml: unknown setting 'wrokers'; did you mean 'workers'?"),
        ("workers = ", "serin.toml: not valid TOML: Invalid value"),
        ("workers = 1\nworkers = 2", "serin.toml: not valid TOML: Cannot overwrite a value"),
    ],
)
def test_a_wrong_file_is_named_with_the_key_or_the_line(text: str, message: str) -> None:
    Path("serin.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load({})
    assert str(caught.value).startswith(message)


def test_a_file_that_is_no_text_is_refused() -> None:
    Path("serin.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"^serin\.toml: "):
        load({})


def test_variables_that_kubernetes_makes_for_a_service_called_serin_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIN_PORT", "tcp://10.0.0.1:8000")
    monkeypatch.setenv("SERIN_SERVICE_HOST", "10.0.0.1")
    assert load({}).host == "127.0.0.1"


def test_a_dump_makes_the_same_settings_again_without_reading_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = load({"workers": 3, "models": "m"}).model_dump(mode="json")
    monkeypatch.setenv("SERIN_WORKERS", "9")
    Path("serin.toml").write_text("nonsense")
    again = Settings(**dump)
    assert (again.workers, again.models) == (3, Path("m"))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load({}).workers = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("affinity", "limits", "expected"),
    [
        (8, [], 8),
        (8, ["max 100000"], 8),
        (8, ["200000 100000"], 2),
        (8, ["150000 100000"], 1),
        (8, ["50000 100000"], 1),
        (2, ["800000 100000"], 2),
        (8, ["max 100000", "400000 100000\n", "600000 100000"], 4),
        (8, ["-1 100000"], 8),
        (8, ["300000 100000"], 3),
        (8, ["", "   ", "rubbish", "100000 0"], 8),
    ],
)
def test_cores_are_the_least_of_affinity_and_the_quotas_on_the_way_up(
    affinity: int, limits: list[str], expected: int
) -> None:
    assert cores(affinity, limits) == expected


def test_quotas_are_read_from_the_group_and_its_parents_in_both_versions(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    (root / "a.slice/b.scope").mkdir(parents=True)
    (root / "a.slice/cpu.max").write_text("200000 100000\n")
    (root / "cpu,cpuacct/pod").mkdir(parents=True)
    (root / "cpu,cpuacct/pod/cpu.cfs_quota_us").write_text("300000\n")
    (root / "cpu,cpuacct/pod/cpu.cfs_period_us").write_text("100000\n")
    membership = tmp_path / "membership"
    membership.write_text("0::/a.slice/b.scope\n4:cpu,cpuacct:/pod\n3:memory:/pod\n")
    limits = {text.strip() for text in _cpu_limits(membership, root)}
    assert limits == {"", "200000 100000", "300000 100000"}


def test_threads_and_concurrency_follow_from_cores_and_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "available_cores", lambda: 8)
    assert (load({"workers": 2}).session_threads, load({"workers": 2}).concurrency) == (4, 4)
    assert (load({"workers": 8}).session_threads, load({"workers": 8}).concurrency) == (1, 2)
    assert load({"workers": 16}).session_threads == 1
    assert load({"onnx_threads": 3}).session_threads == 3
    assert load({"max_concurrency": 1}).concurrency == 1


def test_the_reference_has_a_line_for_every_setting() -> None:
    lines = settings.reference().splitlines()
    keys = [*SourceSettings.model_fields, *HookSettings.model_fields, *UpstreamSettings.model_fields]
    names = [name for name in in_order() if name not in ("sources", "hooks", "upstreams")]
    assert set(in_order()) == set(Settings.model_fields)
    assert [line.split("`")[1] for line in lines if line.startswith("| `")] == [*names, *keys]
    assert all(field.description for field in Settings.model_fields.values())
