from router.fleet import Worker
from router.readiness import Sight
from router.reports import InventoryModel, InventoryReport, InventoryVersion, VersionState, WorkerVersion
from router.routes import PPM, Route, RouteTable, Variant, Wanted
from router.state import State, Who

READY, LOADING, BROKEN = VersionState.READY, VersionState.LOADING, VersionState.UNAVAILABLE
ANN = Who("ann", "because")


def found(version: int, state: VersionState = READY, **more: object) -> InventoryVersion:
    fields: dict[str, object] = {"reason": "", "digest": f"d{version}", "stamp": f"s{version}", **more}
    return InventoryVersion(state, **fields)  # type: ignore[arg-type]


def inventory(
    *states: VersionState, default: int | None = None, scanned: bool = True, model: str = "digits"
) -> InventoryReport:
    versions = {n: found(n, state) for n, state in enumerate(states, 1)}
    return InventoryReport("i", {model: InventoryModel(default, None, versions)}, scanned)


def wanted(*versions: int) -> dict[str, dict[int, Wanted]]:
    return {"digits": {n: Wanted(f"d{n}", f"s{n}") for n in versions}}


def route(*weights: int, **more: object) -> Route:
    variants = tuple(Variant(str(n), n, weight) for n, weight in enumerate(weights, 1))
    return Route("digits", variants, revision=5, epoch=2, **more)  # type: ignore[arg-type]


def state(recorded: Route | None = None, *versions: int) -> State:
    routes = {"digits": recorded or route(PPM)}
    return State(RouteTable(5, routes, wanted(*(versions or (1, 2, 3))), True))


def worker(slot: int = 0, **states: VersionState) -> Worker:
    held = {}
    for name, one in states.items():
        held[int(name[1:])] = WorkerVersion(one, "" if one is READY else f"why {name}", f"d{name[1:]}")
    return Worker(slot, f"w{slot}", 1, applied=5, states={"digits": held}, seen=0.0)


def sight(recorded: State | None = None, seen: InventoryReport | None = None, *live: Worker) -> Sight:
    return Sight(recorded or state(), seen or inventory(READY, READY, READY), live)
