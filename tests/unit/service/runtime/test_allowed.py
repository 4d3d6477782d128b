"""The list of digests: what a line may be, and what holds while the file is exchanged."""

import os
from pathlib import Path

import pytest

from service.runtime.allowed import Allowed, AllowedError, read_digests

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def test_a_line_is_a_digest_and_words_for_people(tmp_path: Path) -> None:
    file = tmp_path / "allowed"
    file.write_text(f"# of release 7\n\n{A}  digits/1\n  {B}\n")
    assert read_digests(file) == {A, B}


@pytest.mark.parametrize("line", ["a" * 64, A[:-1], A + "0", A.upper(), f"digits/1 {A}", "md5:" + "a" * 64])
def test_what_is_no_digest_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "allowed"
    file.write_text(f"{B}\n{line}\n")
    with pytest.raises(AllowedError, match="line 2 does not begin with"):
        read_digests(file)


def test_an_empty_list_allows_nothing_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert Allowed(tmp_path / "empty")(A) == f"its digest {A} is not in the list of those that may be loaded"
    with pytest.raises(AllowedError, match="cannot be read: No such file"):
        Allowed(tmp_path / "none")


def test_the_list_is_read_again_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "allowed"
    file.write_text(A)
    allowed = Allowed(file)
    assert not allowed.renew()

    file.write_text("nonsense")
    assert not allowed.renew()
    assert (allowed(A), "line 1" in allowed.trouble) == (None, True)
    file.unlink()
    assert not allowed.renew()
    assert allowed(A) is None

    (tmp_path / "new").write_text(B)
    os.replace(tmp_path / "new", file)
    assert allowed.renew()
    assert (allowed(B), allowed(A) is None, allowed.trouble) == (None, False, "")
