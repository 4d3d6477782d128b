from router.fleet import SILENT_AFTER_SECONDS, Fleet
from router.reports import FollowReport, Refusal, VersionState, WorkerProcess, WorkerVersion

STATES = {"digits": {1: WorkerVersion(VersionState.READY, "", "d1")}}


def report(slot: int = 0, applied: int = 0, serial: int = 0, **more: object) -> FollowReport:
    return FollowReport(slot, f"w{slot}", 100 + slot, applied, -1, serial=serial, **more)  # type: ignore[arg-type]


def process(slot: int = 0, listening: bool = True) -> WorkerProcess:
    return WorkerProcess(slot, f"w{slot}", 100 + slot, listening)


def test_a_worker_that_told_no_states_is_asked_for_them() -> None:
    fleet = Fleet()
    assert not fleet.follow(report(), 1.0)
    assert fleet.follow(report(states=STATES), 2.0)
    assert fleet.follow(report(), 3.0)
    assert fleet.all()[0].states == STATES


def test_an_overtaken_report_changes_nothing() -> None:
    fleet = Fleet()
    fleet.follow(report(applied=5, serial=9, states=STATES), 1.0)
    fleet.follow(report(applied=4, serial=8, states={}), 1.1)
    assert (fleet.all()[0].applied, fleet.all()[0].states) == (5, STATES)


def test_states_in_a_report_that_was_overtaken_by_one_without_them_are_not_lost() -> None:
    fleet = Fleet()
    fleet.follow(report(applied=4, serial=7, states={}), 1.0)
    fleet.follow(report(applied=5, serial=9), 1.1)
    fleet.follow(report(applied=4, serial=8, states=STATES), 1.2)
    assert (fleet.all()[0].applied, fleet.all()[0].states) == (5, STATES)


def test_without_a_list_who_has_followed_lately_is_live() -> None:
    fleet = Fleet()
    fleet.follow(report(0), 0.0)
    fleet.follow(report(1), SILENT_AFTER_SECONDS)
    assert [worker.slot for worker in fleet.live(SILENT_AFTER_SECONDS + 1)] == [1]


def test_with_a_list_a_listening_worker_is_live_before_it_followed_and_lags() -> None:
    fleet = Fleet()
    fleet.take_list([process(0), process(1, listening=False)])
    assert [worker.slot for worker in fleet.live(0.0)] == [0]
    assert [worker.slot for worker in fleet.lagging(0, 0.0)] == [0]


def test_a_follower_that_does_not_listen_yet_must_confirm_too() -> None:
    fleet = Fleet()
    fleet.take_list([process(0, listening=False)])
    fleet.follow(report(0, applied=3), 0.0)
    assert [worker.slot for worker in fleet.lagging(4, 0.0)] == [0]


def test_who_is_no_longer_listed_is_dead_and_stays_dead() -> None:
    fleet = Fleet()
    fleet.take_list([process(0), process(1)])
    fleet.follow(report(0), 0.0)
    fleet.condemn(fleet.all()[:1])
    assert fleet.condemned == ("w0",)
    fleet.take_list([process(1)])
    fleet.follow(report(0, serial=1), 0.1)
    assert [worker.slot for worker in fleet.all()] == [1]
    assert fleet.condemned == ()


def test_a_refusal_of_this_or_a_later_table_is_found() -> None:
    fleet = Fleet()
    fleet.follow(report(0, applied=3, refused=Refusal(4, "because")), 0.0)
    found = fleet.refusal(4, 0.0)
    assert found is not None
    assert found[1].reason == "because"
    assert fleet.refusal(5, 0.0) is None
