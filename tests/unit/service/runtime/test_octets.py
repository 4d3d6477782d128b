"""Strings in memory: read where their layout is the known one, left alone where it is not."""

import ctypes

import numpy as np
import pytest

from service.runtime import octets

HEAD = 32


class Memory:
    """Strings as libstdc++ lays them out: where each starts, its length, and sixteen bytes for a short one."""

    def __init__(self, *items: bytes) -> None:
        self.content = ctypes.create_string_buffer(HEAD * len(items))
        self.kept = [ctypes.create_string_buffer(item, len(item) + 1) for item in items]
        for number, (item, kept) in enumerate(zip(items, self.kept, strict=True)):
            at, short = self.address + HEAD * number, len(item) < 16
            start = at + 16 if short else ctypes.addressof(kept)
            ctypes.memmove(at, np.array([start, len(item)], np.uintp).tobytes(), 16)
            if short:
                ctypes.memmove(start, item, len(item))

    @property
    def address(self) -> int:
        return ctypes.addressof(self.content)


def test_what_is_laid_out_as_it_ought_to_be_is_read() -> None:
    items = (b"", b"\xff", b"\0" * 15, b"x" * 16, "é".encode() * 500)
    memory = Memory(*items)
    assert octets.read(memory.address, len(items)) == list(items)
    assert octets.array(memory.address, (5, 1)).tolist() == [[""], [b"\xff"], ["\0" * 15], ["x" * 16], ["é" * 500]]
    assert octets.array(0, (0, 3)).shape == (0, 3)
    assert octets.is_readable(Memory(*octets.SAMPLE).address)


@pytest.mark.parametrize(
    "content",
    [
        bytes(2 * HEAD),
        b"\xff" * 2 * HEAD,  # no pointer of these may be followed
        octets.SAMPLE[0].ljust(HEAD, b"\0") + octets.SAMPLE[1].ljust(HEAD, b"\0"),
    ],
)
def test_another_layout_is_told_by_its_first_string_and_nothing_is_followed(content: bytes) -> None:
    memory = ctypes.create_string_buffer(content, len(content))
    assert not octets.is_readable(ctypes.addressof(memory))


def test_strings_that_are_others_than_the_sample_are_not_readable() -> None:
    first, second = octets.SAMPLE
    assert not octets.is_readable(Memory(first, second[:-1] + b"x").address)
    assert not octets.is_readable(Memory(first[:-1] + b"x", second).address)
    assert not octets.is_readable(Memory(first + b"x", second).address)


def test_text_is_decoded_whole_or_not_at_all() -> None:
    assert octets.text(np.array([["é".encode(), "b"]], object)).tolist() == [["é", "b"]]
    with pytest.raises(UnicodeDecodeError):
        octets.text(np.array([b"a", b"\xff"], object))
    assert octets.as_read(np.array([b"a", b"\xff", "c"], object)).tolist() == ["a", b"\xff", "c"]
