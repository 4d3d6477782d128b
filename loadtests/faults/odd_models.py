"""Broken models and folders that are no versions appear beside a good one: it is served on, and each has its reason."""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from loadtests.faults.callers import Callers
from loadtests.faults.counting import MODEL, document, place
from loadtests.faults.judging import failed, liveness, readiness, wrong
from loadtests.faults.outcome import Outcome, exactly, shown, soon
from loadtests.faults.stand import Gateway, eventually, http, stand
from loadtests.observed import children, workers

ROW = "C3"
NO_VERSIONS = ("01", "1.5", "v2", "-1", "latest", str(2**63), ".tmp", "0", "+3", "٣", "1e3")
BROKEN: Mapping[str, bytes] = {
    "cut": document(1)[:60],
    "empty": b"",
    "page": b"<html>not found</html>",
    "noise": bytes(range(256)) * 64,
}
RATE, VERSIONS, LONG_VERSIONS, LOOK_SECONDS = 100.0, 1_000, 10_000, 60.0


def run(long: bool) -> Outcome:
    """Each kind once, and a model of 1,000 versions of which one is wanted; 10,000 in the long form."""
    count = LONG_VERSIONS if long else VERSIONS
    with stand(1) as at, at.gateway() as gateway, Callers(gateway.address, RATE) as callers:
        before = {*workers(gateway.pid), *children(gateway.pid, "service.inventory")}
        for name in NO_VERSIONS:
            copy(at.models / MODEL / name)
        outside = copy(at.folder / "outside")
        (at.models / MODEL / "7").symlink_to(outside)
        for name, content in BROKEN.items():
            folder = at.models / name / "1"
            folder.mkdir(parents=True)
            (folder / "model.onnx").write_bytes(content)
        (at.models / "folder" / "1" / "model.onnx").mkdir(parents=True)
        place(at.models, 2)
        eventually(lambda: gateway.states().get(2) == "READY" or None, LOOK_SECONDS)
        reasons = eventually(lambda: told(gateway), LOOK_SECONDS)
        answers = [ready(gateway, name) for name in reasons]
        took, more = many(at.models, gateway, count)
        after = {*workers(gateway.pid), *children(gateway.pid, "service.inventory")}
        callers.stop()
        taken = {version for version in gateway.states() if version not in (1, 2)}
    return Outcome(
        [
            shown("folders that are no versions", len(NO_VERSIONS)),
            exactly("of these, and of links that lead outside, taken as READY versions", len(taken - {7})),
            shown("broken models", len(reasons)),
            exactly("of these without state UNAVAILABLE and a reason", sum(not reason for reason in reasons.values())),
            exactly("of these whose own readiness is not 503", sum(status != 503 for status in answers)),
            exactly("requests of the good model failed", len(failed(callers.sent))),
            exactly("wrong answers", len(wrong(callers.sent))),
            liveness(callers.looks),
            readiness(callers.looks),
            exactly("processes that died", len(before - after)),
            soon(f"seconds until one wanted version among {count:,} is READY", took, 10.0),
            exactly("of them READY besides", more),
        ]
    )


def copy(folder: Path) -> Path:
    """A good file in a folder of any name."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(document(9))
    return folder


def told(gateway: Gateway) -> dict[str, str] | None:
    """The reason of each broken model, once all have one."""
    found = {}
    for model in (*BROKEN, "folder"):
        [version] = gateway.ask(f"/api/v1/models/{model}")["versions"]
        found[model] = version["reason"] if version["state"] == "UNAVAILABLE" else ""
    return found if all(found.values()) else None


def ready(gateway: Gateway, model: str) -> int:
    """The status of a model's own readiness."""
    return http().get(f"{gateway.server.http}/v2/models/{model}/ready").status_code


def many(models: Path, gateway: Gateway, count: int) -> tuple[float, int]:
    """A model with so many versions, of which its model.toml wants the first: seconds until that is READY, and how
    many others are."""
    coming, one = models / ".coming-many", document(1)
    coming.mkdir()
    (coming / "model.toml").write_text("versions = [1]\n")
    for version in range(1, count + 1):
        (coming / str(version)).mkdir()
        (coming / str(version) / "model.onnx").write_bytes(one)
    begun = monotonic()
    coming.rename(models / "many")

    def state() -> dict[int, str]:
        return {one["version"]: one["state"] for one in gateway.ask("/api/v1/models/many")["versions"]}

    eventually(lambda: state().get(1) == "READY" or None, LOOK_SECONDS)
    return monotonic() - begun, sum(found == "READY" for version, found in state().items() if version != 1)
