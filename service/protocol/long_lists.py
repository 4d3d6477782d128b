"""Long lists of numbers, taken out of a JSON text before it is parsed.

The parser of a request would walk through every digit only to hand the list on as text. What is taken out holds no
string, list or object, so the rest of the text means the same with a short list in its place; who finds the short list
where the long one belongs knows that it was no part of a string. What is wrong inside the list is found by who reads
its numbers.
"""

from secrets import randbits

LONG_BYTES = 16 * 1024

MOST_LISTS = 64
"""A text with more lists nests its numbers, or is no request."""


def set_aside(text: bytes) -> tuple[bytes, dict[bytes, memoryview]] | None:
    """The text with a short list in the place of each long one, and those by the text of the short ones. None where
    there is nothing to gain."""
    pieces: list[bytes] = []
    lists: dict[bytes, memoryview] = {}
    view, start, begin = memoryview(text), 0, text.find(b"[")
    first = randbits(62) + (1 << 62)
    for _ in range(MOST_LISTS):
        if begin < 0:
            break
        end = text.find(b"]", begin)
        if end - begin > LONG_BYTES and not _has_parts(text, begin + 1, end):
            mark = b"[%d]" % (first + len(lists))
            lists[mark] = view[begin : end + 1]
            pieces += (text[start:begin], mark)
            start, begin = end + 1, end
        begin = text.find(b"[", begin + 1)
    if begin >= 0 or not lists:
        return None
    return b"".join((*pieces, text[start:])), lists


def _has_parts(text: bytes, begin: int, end: int) -> bool:
    return any(text.find(sign, begin, end) >= 0 for sign in (b'"', b"[", b"{"))
