"""What the kernel tells of processes, read from files as it writes them."""

import os
from pathlib import Path

from loadtests.observed import Memory, connections, cpu_seconds, family, memory, resident, workers

ROLLUP = """00400000-7fff0000 ---p 00000000 00:00 0    [rollup]
Rss:              112640 kB
Pss:               73728 kB
Private_Clean:      1024 kB
Private_Dirty:     65536 kB
Shared_Clean:      46080 kB
"""


def proc_with(tmp_path: Path) -> Path:
    """A gateway, 10, with a controller, two workers, and a child that is just gone."""
    (tmp_path / "10/task/10").mkdir(parents=True)
    (tmp_path / "10/task/10/children").write_text("13 11 12 99 ")
    for pid, module in ((11, "service.control"), (12, "service.app"), (13, "service.app")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_text(f"python\0-m\0{module}\0")
        (tmp_path / str(pid) / "smaps_rollup").write_text(ROLLUP)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (odd ) name) S " + "0 " * 10 + "250 50 " + "0 " * 30)
    return tmp_path


def test_workers_are_told_from_the_other_children(tmp_path: Path) -> None:
    assert workers(10, proc_with(tmp_path)) == [12, 13]


def test_a_family_is_the_parent_with_all_its_children(tmp_path: Path) -> None:
    assert family(10, proc_with(tmp_path)) == [10, 11, 12, 13, 99]


def test_memory_of_several_processes_adds_up_and_a_process_that_ended_has_none(tmp_path: Path) -> None:
    found = memory([12, 13, 99], proc_with(tmp_path))
    assert found == Memory(resident=2 * 110 << 20, proportional=2 * 72 << 20, private=2 * 65 << 20)


def test_resident_memory_counts_what_processes_share_for_each_of_them(tmp_path: Path) -> None:
    proc = proc_with(tmp_path)
    for pid in (12, 13):
        (proc / str(pid) / "statm").write_text("9000 300 120 1 0 800 0\n")
    assert resident([12, 13, 99], proc) == 600 * os.sysconf("SC_PAGE_SIZE")


def test_computed_time_is_read_past_a_name_with_spaces_and_parentheses(tmp_path: Path) -> None:
    assert cpu_seconds([12], proc_with(tmp_path)) == 300 / os.sysconf("SC_CLK_TCK")


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:1F40 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:1F40 0100007F:D432 01 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 0100007F:1F42 0100007F:D433 01 00000000:00000000 00:00000000 00000000     0        0 4 1
"""


def test_only_open_connections_to_the_port_count_that_the_process_itself_holds(tmp_path: Path) -> None:
    folder = tmp_path / "7" / "fd"
    folder.mkdir(parents=True)
    (tmp_path / "7" / "net").mkdir()
    (tmp_path / "7" / "net" / "tcp").write_text(TCP)
    for number, target in enumerate(("socket:[1]", "/dev/null", "socket:[2]", "socket:[4]")):
        (folder / str(number)).symlink_to(target)
    assert connections(7, 0x1F40, tmp_path) == 1


def test_the_kernel_of_this_machine_tells_all_that() -> None:
    assert 0 < memory([os.getpid()]).private <= memory([os.getpid()]).resident
    assert abs(resident([os.getpid()]) - memory([os.getpid()]).resident) < 16 << 20
    assert cpu_seconds([os.getpid()]) > 0
