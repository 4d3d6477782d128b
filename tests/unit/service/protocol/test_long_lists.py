"""Long lists are set aside without a change of meaning."""

import json
import random
from collections.abc import Callable

import numpy as np
import pytest

from router.errors import SerinError
from service.protocol import json_codec
from service.protocol.check import bind
from service.protocol.codec import decode
from service.protocol.long_lists import LONG_BYTES, MOST_LISTS, set_aside
from service.protocol.tensors import Signature, TensorSpec

COUNT = 20_000
LONG = ",".join(["0.25"] * COUNT)
SIGNATURE = Signature(
    (TensorSpec("x", "FP32", (-1,)), TensorSpec("n", "INT64", (-1,))), (TensorSpec("y", "FP32", (1,)),)
)


def tensor(data: str, name: str = "x", datatype: str = "FP32", count: int = COUNT) -> str:
    return f'{{"name":"{name}","shape":[{count}],"datatype":"{datatype}","data":{data}}}'


def request(*inputs: str, more: str = "") -> bytes:
    return f'{{"inputs":[{",".join(inputs)}]{more}}}'.encode()


SHORT = tensor("[1,2]", "n", "INT64", 2)
LONG_TENSOR = tensor(f"[{LONG}]")


def outcome(body: bytes) -> object:
    """What a request means, or that it is refused."""
    try:
        found = decode(body)
        feeds = bind(found, SIGNATURE)
    except SerinError as error:
        return type(error)
    return {name: (array.shape, array.tobytes()) for name, array in feeds.items()}, found.id, found.parameters


BODIES = {
    "one": request(LONG_TENSOR, SHORT),
    "two": request(LONG_TENSOR, tensor(f"[{','.join(['7'] * COUNT)}]", "n", "INT64"), more=',"id":"a"'),
    "spaces": request(tensor("[ " + LONG.replace(",", " ,\n") + " ]"), SHORT),
    "given twice": request(tensor(f'[{LONG}],"data":[1]'), SHORT),
    "given twice, the long one last": request(tensor(f'[1],"data":[{LONG}]'), SHORT),
    "in a string": request(tensor("[1]", count=1), SHORT, more=f',"id":"[{LONG[: LONG_BYTES + 9]}]"'),
    "in a member that nobody knows": request(tensor("[1]", count=1), SHORT, more=f',"more":[{LONG}]'),
    "in the shape": request(LONG_TENSOR.replace(f"[{COUNT}]", f"[{LONG}]"), SHORT),
    "among the inputs": b'{"inputs":[' + LONG.encode() + b"]}",
    "not a number in it": request(tensor(f"[{LONG},NaN]", count=COUNT + 1), SHORT),
    "a word in it": request(tensor(f"[{LONG},none]", count=COUNT + 1), SHORT),
    "a string in it": request(tensor(f'[{LONG},"NaN"]', count=COUNT + 1), SHORT),
    "half a string in it": request(tensor(f'[{LONG},"],"data":[{LONG}]'), SHORT),
    "a list in it": request(tensor(f"[{LONG},[1]]", count=COUNT + 1), SHORT),
    "an object in it": request(tensor(f"[{LONG},{{}}]", count=COUNT + 1), SHORT),
    "a number that is none": request(tensor(f"[{LONG},1.]", count=COUNT + 1), SHORT),
    "a comma at its end": request(tensor(f"[{LONG},]"), SHORT),
    "a comma at its begin": request(tensor(f"[,{LONG}]"), SHORT),
    "two commas": request(tensor(f"[{LONG},,{LONG}]", count=2 * COUNT), SHORT),
    "one number too many": request(tensor(f"[{LONG},1]"), SHORT),
    "too large a number": request(tensor(f"[{LONG},1e39]", count=COUNT + 1), SHORT),
    "never closed": request(tensor(f"[{LONG}"), SHORT),
    "cut off": request(LONG_TENSOR, SHORT)[:-3],
    "a byte that is no text": request(LONG_TENSOR, SHORT).replace(b"0.25,0.25", b"0.25,\xff", 1),
    "more behind the text": request(LONG_TENSOR, SHORT) + b"]",
    "nested": request(tensor(f"[[{LONG}]]").replace(f"[{COUNT}]", f"[1,{COUNT}]"), SHORT),
    "a fraction among whole numbers": request(
        LONG_TENSOR, tensor(f"[{','.join(['7'] * COUNT)},0.5]", "n", "INT64", COUNT + 1)
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_request_means_the_same_whether_its_lists_are_set_aside_or_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = outcome(BODIES[name])
    monkeypatch.setattr(json_codec, "set_aside", lambda text: None)
    assert seen == outcome(BODIES[name])


@pytest.mark.parametrize("end", [",", " ,", ", ", ",\n\t"])
def test_a_comma_at_the_end_is_refused_wherever_the_list_is_cut(end: str) -> None:
    for count in range(13_100, 13_115):  # around the length of a piece
        numbers = ",".join(["0.25"] * count)
        assert isinstance(outcome(request(tensor(f"[{numbers}{end}]", count=count), SHORT)), type)


def test_numbers_do_not_change_on_the_way() -> None:
    rng = random.Random(1)
    make: list[Callable[[], str]] = [
        lambda: repr(rng.uniform(-1, 1)),
        lambda: f"{rng.randrange(-9, 9)}e{rng.randrange(-46, 38)}",
        lambda: rng.choice(["0", "-0", "-0.0", "1E2", "1e-400"]),
        lambda: str(rng.randrange(-(2**62), 2**62)),
    ]
    texts = [rng.choice(make)() for _ in range(COUNT)]
    found = decode(request(tensor(f"[{','.join(texts)}]"), SHORT))
    feeds = bind(found, SIGNATURE)
    wanted = np.array([float(json.loads(text)) for text in texts]).astype(np.float32)
    assert feeds["x"].tobytes() == wanted.tobytes()


def test_what_is_set_aside_is_each_long_list_of_numbers() -> None:
    cut = set_aside(BODIES["two"])
    assert cut is not None
    text, lists = cut
    assert (len(text) < 400, [len(one) for one in lists.values()]) == (True, [len(LONG) + 2, 2 * COUNT + 1])
    for mark, whole in lists.items():
        text = text.replace(mark, bytes(whole))
    assert text == BODIES["two"]


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"[1,2]", b"[" + b"x" * LONG_BYTES, b"[]" * (MOST_LISTS + 1) + f"[{LONG}]".encode()],
    ids=["nothing", "empty", "short", "open", "many"],
)
def test_nothing_is_set_aside_where_nothing_is_to_gain(text: bytes) -> None:
    assert set_aside(text) is None


def test_many_long_lists_are_not_looked_for_without_end() -> None:
    body = request(*[tensor(f"[{LONG}]", f"x{number}") for number in range(MOST_LISTS)])
    assert set_aside(body) is None
    assert len(json.loads(body)["inputs"]) == MOST_LISTS
