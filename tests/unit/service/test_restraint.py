"""How long the shadow rests: by what a copy cost the requests, beyond what they wait anyway."""

from service.restraint import LONGEST_REST_NS, LONGEST_RESTS, MOST_HELD_UP, RECENT, SAVED_NS, Restraint, Toll

MS = 1_000_000


def spent() -> Restraint:
    """One that has nothing saved up."""
    made = Restraint(0, Toll())
    made._debt = 0.0
    return made


def test_a_copy_that_costs_nothing_needs_no_rest() -> None:
    restraint = spent()
    restraint.begin(0, Toll())
    assert restraint.end(10 * MS, Toll(), 0, 10 * MS) == 0


def test_the_rest_makes_up_for_what_requests_waited() -> None:
    restraint = spent()
    restraint.begin(0, Toll())
    rest = restraint.end(MS, Toll(0, 80_000), 0, MS)
    assert rest == int((RECENT * 80_000 - MOST_HELD_UP * MS) / MOST_HELD_UP)


def test_what_they_wait_anyway_is_not_put_down_to_the_copy() -> None:
    restraint = spent()
    restraint.begin(1000 * MS * 20, Toll(0, 500 * MS * 20))  # half of the time, for long
    assert restraint.end(1000 * MS * 20 + MS, Toll(0, 500 * MS * 20 + MS // 2), 0, MS) == 0


def test_waiting_less_than_usual_makes_up_for_nothing() -> None:
    rests = []
    for waited in (0, MS * 1000 // 2):
        restraint = spent()
        restraint.begin(1000 * MS, Toll(0, waited))
        rests.append(restraint.end(1001 * MS, Toll(1001 * MS, waited), 9 * MS, MS * 10))
    assert rests[0] == rests[1] > 0


def test_holding_the_interpreter_counts_as_far_as_the_loop_computes() -> None:
    rests = []
    for computed in (0, MS // 2, MS):
        restraint = spent()
        restraint.begin(0, Toll())
        rests.append(restraint.end(MS, Toll(computed, 0), 50_000, MS))
    idle, half, busy = rests
    assert idle == 0
    assert 0 < half < busy == int((50_000 - MOST_HELD_UP * MS) / MOST_HELD_UP)


def test_quiet_times_save_up_for_a_burst_and_only_so_much() -> None:
    restraint = spent()
    now, copies = 10**12, 0
    restraint.begin(now, Toll())
    while restraint.end(now, Toll(), 0, 0) == 0 and copies < 1000:
        restraint._debt += 100_000
        copies += 1
    assert copies == SAVED_NS // 100_000 + 1


def test_no_rest_is_longer_than_lets_some_copies_run_on_a_busy_machine() -> None:
    for took in (MS // 10, 60 * MS):
        restraint = spent()
        for turn in range(1, 20):
            begun = turn * took
            restraint.begin(begun, Toll(0, turn * 10**12))
            rest = restraint.end(begun + took, Toll(0, turn * 10**12 + 10**11), took, took)
            assert rest <= max(LONGEST_REST_NS, LONGEST_RESTS * took)


def test_a_copy_that_waited_for_a_server_elsewhere_is_judged_by_what_it_computed() -> None:
    restraint = spent()
    restraint.begin(0, Toll())
    assert restraint.end(1000 * MS, Toll(0, 10**12), 0, 2 * MS) == LONGEST_RESTS * 2 * MS
