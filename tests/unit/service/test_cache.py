"""The cached table."""

from router.routes import Route, RouteTable, Variant
from service.cache import newest_table, write_table


def table(revision: int) -> RouteTable:
    return RouteTable(revision, {"digits": Route("digits", (Variant("1", 1, 1_000_000),), aliases={"stable": 1})})


def test_what_is_written_is_read_back(tmp_path):
    write_table(tmp_path / "table-0.json", table(3))

    assert newest_table(tmp_path.glob("table-*.json")) == table(3)


def test_the_newest_of_several_is_taken_and_broken_ones_are_left_out(tmp_path):
    write_table(tmp_path / "table-0.json", table(3))
    write_table(tmp_path / "table-1.json", table(7))
    (tmp_path / "table-2.json").write_bytes(b'{"revision": 9, "rou')

    assert newest_table(tmp_path.glob("table-*.json")) == table(7)


def test_without_files_there_is_no_table(tmp_path):
    assert newest_table(tmp_path.glob("table-*.json")) is None
