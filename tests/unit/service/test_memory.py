"""The memory that a process may use."""

from service.memory import available_memory, memory

MEMINFO = "MemTotal:       24684936 kB\nMemFree:        18000000 kB\n"


def test_it_is_that_of_the_machine_where_no_group_has_less() -> None:
    assert memory(MEMINFO, ["max", "", "9223372036854771712"]) == 24684936 * 1024


def test_the_least_limit_of_all_groups_holds() -> None:
    assert memory(MEMINFO, ["4294967296\n", "max", "1073741824\n"]) == 1 << 30


def test_nothing_known_is_nothing() -> None:
    assert memory("", ["max"]) == 0


def test_this_machine_has_some() -> None:
    assert available_memory() > 1 << 20
