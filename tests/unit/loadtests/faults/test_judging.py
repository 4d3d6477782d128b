from loadtests.faults.callers import Look, Sent
from loadtests.faults.judging import failed, liveness, lost, p99_ms, truth, why, wrong
from loadtests.tour.scrape import Scrape


def sent(number: int, status: int = 200, **more: object) -> Sent:
    told: dict[str, object] = {"version": 1, "by": 1, "echo": number, "due": 0.0, "sent": 0.0, "done": 0.01}
    return Sent(number, status, **{**told, **more})  # type: ignore[arg-type]


def test_shed_requests_failed_and_are_not_lost() -> None:
    some = [sent(0), sent(1, 503), sent(2, 429), sent(3, 0, error="closed"), sent(4, 500)]

    assert [one.number for one in failed(some)] == [1, 2, 3, 4]
    assert [one.number for one in lost(some)] == [3, 4]
    assert why(some) == "status 503: 1, status 429: 1, closed: 1, status 500: 1"


def test_an_answer_for_another_request_or_by_another_version_is_wrong() -> None:
    assert [one.number for one in wrong([sent(0), sent(1, echo=7), sent(2, by=2)])] == [1, 2]


def test_latency_counts_from_the_moment_a_request_was_due() -> None:
    some = [sent(number, due=number, sent=number + 0.4, done=number + 0.5) for number in range(10)]

    assert p99_ms(some) == 500.0
    assert p99_ms(some, since=20.0) == 0.0


def test_each_look_without_200_is_counted() -> None:
    assert liveness([Look("live", 0.0, 0.1, 200), Look("live", 0.1, 0.2, 0), Look("ready", 0.1, 0.2, 503)]).value == 1


def test_counters_must_agree_by_version() -> None:
    text = 'serin_requests_total{model="count",version="%d",outcome="ok"} %d\n'
    counted = Scrape.parse("".join(text % pair for pair in ((1, 2), (2, 1))))

    assert truth([sent(0), sent(1), sent(2, version=2, by=2)], counted, "count")[1].held
    assert not truth([sent(0), sent(1, version=2), sent(2, version=2)], counted, "count")[1].held
