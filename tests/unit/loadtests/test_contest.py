"""What the servers of a scenario are sent, and which models it needs."""

from pathlib import Path

import pytest

from loadtests import peers
from loadtests.contest import gateway_requests, prepare_all, reference_requests
from loadtests.peers import NotInstalled
from loadtests.scenario import Neighbour, Scenario
from service.runtime.manifest import parse_manifest


def test_the_reference_gets_the_same_rows_as_json_without_key_and_version() -> None:
    asked = Scenario(name="s", sets=(), model="diabetes", version="2", concurrency=1, encoding="binary", keys=40)
    assert len(gateway_requests(asked)) == 40
    assert all(b"Serin-Routing-Key" in request and b"/versions/2/" in request for request in gateway_requests(asked))
    assert not any(b"Serin-" in request or b"versions" in request for request in reference_requests(asked))


def test_a_rollout_is_compared_with_the_same_model_under_another_name(tmp_path: Path) -> None:
    prepare_all(
        [Scenario(sets=(), model="tiny", concurrency=1, versus="plain", rollout=("--to", "2"))],
        tmp_path,
    )
    plain, changing = (tmp_path / name for name in ("tiny-plain", "tiny-rollout"))
    assert (plain / "model.toml").read_text() == (changing / "model.toml").read_text()
    files = [plain / "1" / "model.onnx", changing / "1" / "model.onnx", changing / "2" / "model.onnx"]
    assert len({file.read_bytes() for file in files}) == 1


def test_what_batching_brings_is_measured_on_the_same_model_without_it(tmp_path: Path) -> None:
    prepare_all([Scenario(sets=(), model="mlp", concurrency=1, versus="unbatched")], tmp_path)
    execution = parse_manifest((tmp_path / "mlp-unbatched" / "model.toml").read_bytes()).execution
    assert execution.max_batch_rows == 1
    assert not (tmp_path / "mlp" / "model.toml").exists()


def test_a_neighbour_is_made_too(tmp_path: Path) -> None:
    slow = Neighbour(model="image", concurrency=2)
    prepare_all([Scenario(sets=(), model="tiny", concurrency=1, versus="alone", neighbour=slow)], tmp_path)
    assert (tmp_path / "image" / "1" / "model.onnx").exists()


def test_a_peer_that_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "CACHE", tmp_path)
    with pytest.raises(NotInstalled, match=r"python -m loadtests\.peers"):
        peers.command("mlserver", tmp_path / "model.onnx", "m")


def test_a_peer_counts_as_there_only_with_the_lock_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "CACHE", tmp_path)
    (tmp_path / "kserve").mkdir()
    (tmp_path / "kserve" / ".lock").write_text("of yesterday")
    assert not peers.is_installed("kserve")


def test_our_own_apps_are_no_peers() -> None:
    assert peers.command("reference", Path("model.onnx"), "m") is None


@pytest.mark.parametrize("name", peers.NAMES)
def test_every_peer_is_pinned_with_hashes(name: str) -> None:
    assert peers.versions(name)[0].isdigit()
    lock = (peers.HERE / f"{name}.lock").read_text()
    assert lock.count("--hash=sha256:") > lock.count("==") > 20
    assert "://" not in lock
