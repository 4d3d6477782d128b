from dataclasses import replace

from router.routes import KeySource
from router.state import at_one_revision, renumbered, same_decision, with_routes, with_wanted
from tests.unit.router.world import route, state, wanted


def test_the_epoch_grows_with_the_split_and_not_with_names() -> None:
    before = state(route(1_000_000))
    old = before.table.routes["digits"]
    changes = {
        "aliases": replace(old, aliases={"a": 1}),
        "weights": route(500_000, 500_000),
        "salt": replace(old, salt="s"),
        "key": replace(old, key=KeySource(cookie="c")),
    }
    epochs = {name: with_routes(before, {"digits": new}).table.routes["digits"].epoch for name, new in changes.items()}
    assert epochs == {"aliases": 2, "weights": 3, "salt": 3, "key": 3}


def test_several_steps_of_one_decision_are_one_revision() -> None:
    before = state()
    after = with_routes(with_wanted(before, wanted(1), True), {"digits": route(500_000, 500_000)})
    assert after.table.revision == 7
    one = at_one_revision(before, after)
    assert (one.table.revision, one.table.routes["digits"].revision) == (6, 6)


def test_a_worker_ahead_of_the_record_is_overtaken_once() -> None:
    change = renumbered(state(), 17)
    assert change.state.table.revision == 18
    assert renumbered(change.state, 17).state is change.state


def test_decisions_are_the_same_whatever_their_number() -> None:
    assert same_decision(route(1_000_000), replace(route(1_000_000), revision=99, epoch=9))
    assert not same_decision(route(1_000_000), None)
    assert same_decision(None, None)
