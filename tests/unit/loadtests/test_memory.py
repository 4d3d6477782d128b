"""The sums of the memory table."""

from rich.console import Console

from loadtests.memory import MIB, Case, Seen, each_model, table
from loadtests.observed import Memory


def seen(private: int) -> Seen:
    total = Memory(resident=400 * MIB, proportional=300 * MIB, private=private * MIB)
    return Seen(Case("x", "tiny", ("tiny",)), 4, total, Memory(500 * MIB, 170 * MIB, 0))


def test_a_worker_has_its_share_of_what_all_have() -> None:
    console = Console(width=160)
    with console.capture() as shown:
        console.print(table([seen(260)]))
    numbers = shown.get().splitlines()[-1].replace(" MiB", "").split()
    assert numbers == ["x", "4", "65", "75", "100", "300", "170"]


def test_each_further_model_is_the_difference_spread_over_the_models_that_make_it() -> None:
    assert each_model([seen(260), seen(264)]) == "Each further tiny model: 21 KiB in each worker"
