"""The inventory's work on files in a temporary directory, with an examiner that only looks at the first word."""

from itertools import count
from pathlib import Path

import pytest

from router.reports import InventoryReport, InventoryVersion, VersionState
from service.runtime import stock as stocks
from service.runtime.allowed import Allowed
from service.runtime.ledger import Ledger
from service.runtime.stock import Stock
from service.runtime.verdict import Rules, Verdict
from tests.unit.service.runtime.tiny import place


class Examiner:
    """Passes everything that does not begin with "bad"; `examined` counts."""

    def __init__(self) -> None:
        self.examined: list[str] = []

    def __call__(self, version_dir: str, version: int, rules: Rules) -> Verdict:
        content = (Path(version_dir) / "model.onnx").read_text()
        self.examined.append(content)
        if content.startswith("bug"):
            raise RuntimeError("not foreseen")
        return Verdict(not content.startswith("bad"), "no good" if content.startswith("bad") else "", {"inputs": []})


class World:
    """A repository with its inventory; `round` is what the process does again and again."""

    def __init__(self, tmp_path: Path) -> None:
        self.models = tmp_path / "models"
        self.models.mkdir(exist_ok=True)
        self.state = tmp_path / "state"
        self.examiner = Examiner()
        self.told: list[InventoryReport] = []
        self.restart()

    def restart(self) -> None:
        self.stock = Stock(self.models, Ledger(self.state), self.examiner, self._changed, instance="i")

    def round(self) -> InventoryReport:
        assert self.stock.look()
        self.stock.take()
        return self.stock.report

    def settle(self) -> InventoryReport:
        self.round()
        return self.round()

    def version(self, name: str = "m", version: int = 1) -> InventoryVersion:
        return self.stock.report.models[name].versions[version]

    def _changed(self) -> None:
        self.told.append(self.stock.report)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_version_is_examined_when_it_stood_still_over_two_looks(world: World) -> None:
    place(world.models, "m", 1, b"good")
    world.round()
    assert world.version().state is VersionState.LOADING
    assert world.examiner.examined == []
    world.round()
    assert world.version().state is VersionState.READY
    assert world.version().digest.startswith("sha256:")
    assert world.version().signature == {"inputs": []}
    world.round()
    assert world.examiner.examined == ["good"]


def test_a_look_that_finds_nothing_new_tells_nobody(world: World) -> None:
    place(world.models, "m", 1, b"good")
    world.settle()
    told = len(world.told)
    world.round()
    world.round()
    assert len(world.told) == told
    place(world.models, "m", 2, b"good too")
    world.round()
    assert len(world.told) == told + 1


def test_a_growing_version_is_never_examined(world: World) -> None:
    file = place(world.models, "m", 1, b"good")
    for length in range(5):
        file.write_bytes(b"good" * (length + 2))
        world.round()
        assert world.version().state is VersionState.LOADING
    assert world.examiner.examined == []
    world.round()
    assert world.version().state is VersionState.READY


def test_a_bad_version_is_unavailable_and_the_others_are_not(world: World) -> None:
    place(world.models, "m", 1, b"good")
    place(world.models, "m", 2, b"bad")
    place(world.models, "m", 3, b"")
    place(world.models, "n", 1, b"good one")
    report = world.settle()
    states = {
        f"{name}:{v}": seen.state.value for name, model in report.models.items() for v, seen in model.versions.items()
    }
    assert states == {"m:1": "READY", "m:2": "UNAVAILABLE", "m:3": "UNAVAILABLE", "n:1": "READY"}
    assert world.version(version=2).reason == "no good"
    assert world.version(version=3).reason == "model.onnx is empty"


def test_a_bug_in_the_examination_of_one_version_stays_with_it(world: World) -> None:
    place(world.models, "m", 1, b"bug")
    place(world.models, "m", 2, b"good")
    world.settle()
    assert world.version(version=1).state is VersionState.UNAVAILABLE
    assert "RuntimeError" in world.version(version=1).reason
    assert world.version(version=2).state is VersionState.READY


def test_a_change_in_place_is_taken_when_it_stands_still(world: World) -> None:
    file = place(world.models, "m", 1, b"good")
    world.settle()
    before = world.version()
    file.write_bytes(b"good and better")
    world.round()
    assert world.version().state is VersionState.LOADING
    world.round()
    assert world.version().state is VersionState.READY
    assert world.version().digest != before.digest
    assert world.version().stamp != before.stamp


def test_a_change_during_the_examination_is_not_believed(world: World) -> None:
    file = place(world.models, "m", 1, b"good")

    def change(version_dir: str, version: int, rules: Rules) -> Verdict:
        file.write_bytes(b"something else")
        return Verdict(True)

    world.stock = Stock(world.models, Ledger(world.state), change, lambda: None)
    world.settle()
    assert world.version().state is VersionState.LOADING
    world.restart()
    world.settle()
    assert world.examiner.examined == ["something else"]


def test_a_version_that_is_gone_is_not_reported(world: World) -> None:
    file = place(world.models, "m", 1, b"good")
    place(world.models, "m", 2, b"good two")
    world.settle()
    file.unlink()
    file.parent.rmdir()
    world.round()
    assert set(world.stock.report.models["m"].versions) == {2}


def test_a_repository_that_cannot_be_read_is_not_an_empty_one(world: World, tmp_path: Path) -> None:
    place(world.models, "m", 1, b"good")
    world.settle()
    world.models.rename(tmp_path / "unmounted")
    assert not world.stock.look()
    assert world.version().state is VersionState.READY


def test_a_broken_model_toml_makes_its_model_unavailable_and_no_other(world: World) -> None:
    for name in ("m", "n"):
        place(world.models, name, 1, name.encode())
    (world.models / "m" / "model.toml").write_text("default_version = 'one'")
    report = world.settle()
    assert report.models["m"].error == "model.toml: default_version: should be a valid integer"
    assert world.version("m").state is VersionState.UNAVAILABLE
    assert world.version("m").digest == ""
    assert report.models["n"].error is None
    assert world.version("n").state is VersionState.READY


def test_a_mended_model_toml_is_seen(world: World) -> None:
    place(world.models, "m", 1, b"good")
    (world.models / "m" / "model.toml").write_text("oops")
    world.settle()
    (world.models / "m" / "model.toml").write_text("default_version = 1")
    world.settle()
    assert world.version().state is VersionState.READY
    assert world.stock.report.models["m"].default_version == 1


def test_golden_rows_that_are_missing_are_named(world: World) -> None:
    place(world.models, "m", 1, b"good")
    (world.models / "m" / "model.toml").write_text("[golden]")
    world.settle()
    assert world.version().reason == "model.toml: golden.file: there is no golden.json"


def test_versions_that_model_toml_leaves_out_are_not_examined(world: World) -> None:
    place(world.models, "m", 1, b"good")
    place(world.models, "m", 2, b"bad")
    (world.models / "m" / "model.toml").write_text("versions = [1]")
    world.settle()
    assert not world.version(version=2).wanted
    assert world.version(version=1).wanted
    assert world.examiner.examined == ["good"]


def test_a_restart_examines_nothing_that_passed(world: World) -> None:
    place(world.models, "m", 1, b"good")
    place(world.models, "m", 2, b"bad")
    world.settle()
    before = world.version()
    world.restart()
    world.settle()
    assert world.version() == before
    assert world.examiner.examined == ["good", "bad", "bad"]


def test_the_same_content_under_another_name_is_examined_once(world: World) -> None:
    for name in ("m", "n"):
        place(world.models, name, 1, b"good")
    world.settle()
    assert world.examiner.examined == ["good"]
    assert world.version("m").digest == world.version("n").digest


def test_changed_golden_rows_are_a_reason_to_examine_again(world: World) -> None:
    place(world.models, "m", 1, b"good")
    (world.models / "m" / "model.toml").write_text("[golden]")
    (world.models / "m" / "golden.json").write_text('{"cases": []}')
    world.settle()
    (world.models / "m" / "golden.json").write_text('{"cases": [] }')
    world.settle()
    assert world.examiner.examined == ["good", "good"]


def test_one_content_is_examined_for_each_number_of_which_golden_rows_expect_something_else(world: World) -> None:
    for version in (1, 2, 3, 4):
        place(world.models, "m", version, b"good")
    (world.models / "m" / "model.toml").write_text("[golden]")
    (world.models / "m" / "golden.json").write_text(
        '{"cases": [{"inputs": {}, "outputs": {"1": {"y": {"data": [1]}}, "2": {"y": {"data": [2]}}}}]}'
    )
    world.settle()
    assert world.examiner.examined == ["good"] * 3  # of 3 and 4 nothing is expected
    world.restart()
    world.settle()
    assert world.examiner.examined == ["good"] * 3


def test_a_wish_lets_what_failed_be_examined_again(world: World) -> None:
    place(world.models, "m", 1, b"bad")
    world.settle()
    world.round()
    assert world.examiner.examined == ["bad"]
    world.stock.forget_failures()
    world.round()
    assert world.examiner.examined == ["bad", "bad"]


def test_a_model_that_leads_out_of_the_repository_is_named(world: World, tmp_path: Path) -> None:
    place(tmp_path / "elsewhere", "m", 1, b"good")
    (world.models / "m").symlink_to(tmp_path / "elsewhere" / "m")
    assert world.settle().models["m"].error == "is a symbolic link out of the model repository"


def test_the_report_says_when_all_was_looked_through_and_which_wish_it_answers(world: World) -> None:
    assert not world.stock.report.scanned
    world.settle()
    assert world.stock.report.scanned
    world.stock.look()
    world.stock.take(5)
    assert world.stock.report.sequence == 5
    assert world.stock.report.instance == "i"


def test_nobody_hears_that_all_was_looked_through_before_what_was_found(world: World, tmp_path: Path) -> None:
    """A model that is not in a report that says so does not exist, for whoever reads it."""
    seen: list[InventoryReport] = []

    class Watched(Ledger):
        def save(self) -> None:  # the disk may take its time here, and another thread may read the report
            seen.append(world.stock.report)

    world.stock = Stock(world.models, Watched(tmp_path / "state"), world.examiner, lambda: None)
    place(world.models, "m", 1, b"good")
    world.stock.look()
    world.stock.look()
    world.stock.take(7)
    assert seen
    assert all((report.scanned, report.sequence) == (False, 0) for report in seen)
    assert world.stock.report.scanned
    assert world.stock.report.models["m"].versions[1].state == VersionState.READY


def test_long_examinations_are_reported_on_the_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stocks, "PUBLISH_SECONDS", 0.0)
    for version in (1, 2):
        place(world.models, "m", version, b"good %d" % version)
    world.round()
    world.told.clear()
    world.round()
    states = [[v.state.value for v in report.models["m"].versions.values()] for report in world.told]
    assert states == [["LOADING", "LOADING"], ["READY", "LOADING"], ["READY", "READY"]]


@pytest.mark.parametrize(("many", "snapshots"), [(1000, 5), (1, 2)])
def test_the_more_versions_there_are_the_seldomer_that_is(
    world: World, monkeypatch: pytest.MonkeyPatch, many: int, snapshots: int
) -> None:
    ticks = count(1000.0)
    monkeypatch.setattr(stocks, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(stocks, "MANY", many)
    monkeypatch.setattr(stocks, "PUBLISH_SECONDS", 1.0)
    for version in range(1, 5):
        place(world.models, "m", version, b"good %d" % version)
    world.round()
    world.told.clear()
    world.round()
    assert len(world.told) == snapshots


def listed(world: World, *digests: str) -> None:
    file = world.state / "allowed"
    file.parent.mkdir(exist_ok=True)
    file.with_suffix(".new").write_text("\n".join(digests))
    file.with_suffix(".new").rename(file)
    if world.stock.allowed is None:
        world.stock.allowed = Allowed(file)


def test_content_that_is_not_listed_is_not_even_examined_until_it_is(world: World) -> None:
    place(world.models, "m", 1, b"good")
    listed(world)
    world.settle()
    found = world.version()
    assert (found.state, world.examiner.examined) == (VersionState.UNAVAILABLE, [])
    assert "is not in the list" in found.reason
    assert found.digest.startswith("sha256:")

    listed(world, found.digest)
    assert world.settle().models["m"].versions[1].state is VersionState.READY
    listed(world)
    assert world.settle().models["m"].versions[1].state is VersionState.UNAVAILABLE
    assert world.examiner.examined == ["good"]


def test_verdicts_hold_for_the_libraries_they_were_reached_with(world: World) -> None:
    place(world.models, "m", 1, b"good")
    world.settle()
    for libraries, examined in (("", 1), ("one", 2), ("one", 2), ("two", 3)):
        world.restart()
        world.stock.libraries = libraries
        world.settle()
        assert len(world.examiner.examined) == examined


def exchange(at: Path, other: Path) -> None:
    """`other` takes the place of `at`, and `at` that of `other`."""
    aside = at.with_name("aside")
    at.rename(aside)
    other.rename(at)
    aside.rename(other)


def link(models: Path, at: str, target: str) -> None:
    (models / at).parent.mkdir(parents=True, exist_ok=True)
    (models / at).symlink_to(target)


#: What lies there, as links or as content, and which two change places.
EXCHANGED: dict[str, tuple[dict[str, str], str, str]] = {
    "the link of the file": (
        {"m/1/model.onnx": "../../store/good/model.onnx", "x/y/link": "../../store/evil/model.onnx"},
        *("m/1/model.onnx", "x/y/link"),
    ),
    "the link of the version": ({"m/1": "../store/good", "m/evil": "../store/evil"}, "m/1", "m/evil"),
    "a link on the way": (
        {"m/1": "../store/current", "store/current": "good", "store/other": "evil"},
        *("store/current", "store/other"),
    ),
    "the directory of the version": ({"m/1/model.onnx": "=good", "m/evil/model.onnx": "=evil"}, "m/1", "m/evil"),
    "the directory of the model": ({"m/1/model.onnx": "=good", ".evil/1/model.onnx": "=evil"}, "m", ".evil"),
    "the file": ({"m/1/model.onnx": "=good", "store/new": "=evil"}, "m/1/model.onnx", "store/new"),
}


@pytest.mark.parametrize("case", EXCHANGED)
def test_what_is_exchanged_while_it_is_examined_and_put_back_is_not_served(world: World, case: str) -> None:
    made, one, other = EXCHANGED[case]
    for name in ("good", "evil"):
        place(world.models, "store", name, name.encode())  # no versions: reached by links alone
    for at, target in made.items():
        if target.startswith("="):
            (world.models / at).parent.mkdir(parents=True, exist_ok=True)
            (world.models / at).write_text(target[1:])
        else:
            link(world.models, at, target)
    examine = world.examiner

    def swapping(version_dir: str, version: int, rules: Rules) -> Verdict:
        exchange(world.models / one, world.models / other)
        try:
            return examine(version_dir, version, rules)
        finally:
            exchange(world.models / one, world.models / other)

    world.stock._examine = swapping
    world.settle()
    assert examine.examined == ["evil"]
    assert world.version().state is VersionState.LOADING
