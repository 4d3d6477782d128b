import pytest

from router.errors import CLASSES, Internal, Kind, SerinError, error_of


def test_every_kind_has_exactly_one_class() -> None:
    assert sorted(error.kind for error in CLASSES) == sorted(Kind)


@pytest.mark.parametrize("error", CLASSES)
def test_a_code_brings_its_class_back(error: type[SerinError]) -> None:
    assert type(error_of(error.kind, "x")) is error


def test_an_unknown_code_is_ours_to_mend() -> None:
    assert isinstance(error_of("TEAPOT", "x"), Internal)
