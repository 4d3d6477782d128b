"""`serin infer`: what it makes of files, what it sends, what it prints."""

import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from router.errors import InvalidArgument
from service.cli import run
from service.cli.tensors import of_csv, of_json, of_npy

ONE = [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
TWO = [{"name": "age", "datatype": "INT64", "shape": [-1, 1]}, {"name": "town", "datatype": "BYTES", "shape": [-1, 1]}]


class FakeServer:
    """A model `m` with one input, whose two outputs are always the same."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.extensions = ["binary_tensor_data"]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if "nothing" in request.url.path:
            return httpx.Response(404, json={"error": "there is no model 'nothing'"})
        if request.url.path == "/v2":
            return httpx.Response(200, json={"name": "fake", "version": "1", "extensions": self.extensions})
        if request.method == "GET":
            return httpx.Response(200, json={"name": "m", "inputs": ONE, "outputs": []})
        outputs = [
            {"name": "label", "datatype": "INT64", "shape": [2], "data": [3, 4]},
            {"name": "shares", "datatype": "FP32", "shape": [2, 2], "data": [0.25, 0.75, None, 1.0]},
        ]
        answer = {"model_name": "m", "model_version": "2", "outputs": outputs}
        return httpx.Response(200, json=answer, headers={"serin-variant": "canary"})


@pytest.fixture
def server(monkeypatch) -> Iterator[FakeServer]:
    fake = FakeServer()
    client = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **given: client(transport=httpx.MockTransport(fake), **given))
    return fake


def tensor(body: dict[str, list[dict[str, object]]]) -> tuple[object, object]:
    [entry] = body["inputs"]
    return entry["shape"], entry["data"]


@pytest.mark.parametrize("text", [b"[[1,2],[3,4]]", b'{"x":[[1,2],[3,4]]}'])
def test_json_rows_with_and_without_the_name(text):
    assert tensor(of_json(text, ONE)) == ([2, 2], [1, 2, 3, 4])


def test_one_row_may_stand_alone_and_a_v2_request_is_sent_as_it_is():
    assert tensor(of_json(b"[1,2]", ONE)) == ([1, 2], [1, 2])
    whole = {"inputs": [{"name": "y", "shape": [1], "datatype": "BOOL", "data": [True]}], "id": "a"}
    assert of_json(json.dumps(whole).encode(), ONE) == whole


def test_csv_by_names_and_in_order():
    assert tensor(of_csv(b"a,b\n1,2.5\n,nan\n", ONE)) == ([2, 2], [1, 2.5, "NaN", "NaN"])
    assert tensor(of_csv(b"1,2\n3,4\n", ONE)) == ([2, 2], [1, 2, 3, 4])
    town, age = of_csv("town,age\nZürich,41\n007,7.0\n".encode(), TWO)["inputs"]
    assert (town["data"], town["shape"], age["data"]) == (["Zürich", "007"], [2, 1], [41, 7])


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", "|b1", "<u8", "<i2"])
def test_an_array_of_numpy_goes_in_binary_where_the_types_agree_and_as_numbers_else(tmp_path, dtype):
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    content = (tmp_path / "a.npy").read_bytes()
    names = {"<f4": "FP32", "<f8": "FP64", "<f2": "FP16", "|b1": "BOOL", "<u8": "UINT64", "<i2": "INT16"}

    body, blob = of_npy(content, [{**ONE[0], "datatype": names[dtype]}])
    assert blob == array.tobytes()
    assert body["inputs"][0]["parameters"] == {"binary_data_size": len(blob)}

    other = "FP64" if dtype != "<f8" else "FP32"
    body, blob = of_npy(content, [{**ONE[0], "datatype": other}])
    assert blob == b""
    assert tensor(body) == ([2, 2], array.reshape(-1).tolist())


def test_arrays_that_cannot_be_sent_are_refused_with_the_way_out(tmp_path):
    for array, way in (
        (np.array([1, 2], ">f4"), "astype"),
        (np.asfortranarray(np.ones((2, 2), "f4")), "ascontiguousarray"),
        (np.array(["a"]), "astype"),
    ):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(InvalidArgument, match=way):
            of_npy((tmp_path / "a.npy").read_bytes(), ONE)
    np.save(tmp_path / "a.npy", np.ones(4, "f4"))
    whole = (tmp_path / "a.npy").read_bytes()
    for content in (b"", b"\x93NUMPY", whole[:-1], whole[:20], b"x" + whole):
        with pytest.raises(InvalidArgument):
            of_npy(content, ONE)


@pytest.mark.parametrize(
    ("make", "text", "reason"),
    [
        (of_json, b"{", "not JSON"),
        (of_json, b'{"y":[1]}', "no input 'y'"),
        (of_json, b"[[1,2],[3]]", "nested evenly"),
        (of_json, b"[1,[2]]", "nested evenly"),
        (of_csv, b"", "no line"),
        (of_csv, b"a,b\n1\n", "row 1 has 1"),
        (of_csv, b"a,b\n1,c\n", "'c' is no number"),
        (of_csv, b"\xff\xfe", "not CSV"),
    ],
)
def test_files_that_say_something_else_are_refused(make, text, reason):
    with pytest.raises(InvalidArgument, match=reason):
        make(text, ONE)


def test_a_model_of_several_inputs_needs_their_names():
    with pytest.raises(InvalidArgument, match="2 inputs"):
        of_csv(b"1,2\n", TWO)


def test_the_answer_is_a_table_by_rows(server, tmp_path, capsys):
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    assert run(["infer", "m:2", "--csv", str(tmp_path / "a.csv"), "--url", "http://there", "--key", "u1"]) == 0
    assert [str(one.url) for one in server.asked] == [
        "http://there/v2/models/m/versions/2",
        "http://there/v2/models/m/versions/2/infer",
    ]
    assert server.asked[1].headers["serin-routing-key"] == "u1"
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["m:2,", "variant", "canary"],
        [],
        ["ROW", "label", "shares"],
        ["0", "3", "0.25", "0.75"],
        ["1", "4", "None", "1"],
    ]


def test_binary_data_follows_the_json_and_the_answer_may_be_printed_whole(server, tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.ones((2, 2), "f4"))
    words = ["infer", "m", "--npy", str(tmp_path / "a.npy"), "--url", "http://there", "--output", "json"]
    assert run(words) == 0
    sent = server.asked[-1]
    length = int(sent.headers["inference-header-content-length"])
    assert json.loads(sent.content[:length])["inputs"][0]["shape"] == [2, 2]
    assert sent.content[length:] == np.ones((2, 2), "f4").tobytes()
    assert json.loads(capsys.readouterr().out)["model_version"] == "2"


def test_an_array_goes_as_numbers_where_the_server_knows_no_binary(server, tmp_path):
    server.extensions = []
    np.save(tmp_path / "a.npy", np.array([[1, np.nan]], "<f4"))
    assert run(["infer", "m", "--npy", str(tmp_path / "a.npy"), "--url", "http://there"]) == 0
    sent = server.asked[-1]
    assert sent.headers["content-type"] == "application/json"
    assert tensor(json.loads(sent.content)) == ([1, 2], [1.0, "NaN"])


def test_where_the_server_does_not_say_what_a_model_takes_only_a_whole_request_will_do():
    whole = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}'
    assert of_json(whole, []) == json.loads(whole)
    assert of_json(b"{}", []) == {"inputs": []}
    for make, text in ((of_json, b"[1]"), (of_json, b'{"x":[1]}'), (of_csv, b"1")):
        with pytest.raises(InvalidArgument, match="whole V2 request"):
            make(text, [])


def test_refusals_and_wrong_words_leave_with_their_codes(server, tmp_path, capsys):
    (tmp_path / "a.json").write_text("[[1,2]]")
    file = str(tmp_path / "a.json")
    assert run(["infer", "nothing", "--json", file, "--url", "http://there"]) == 1
    assert "there is no model 'nothing'" in capsys.readouterr().err
    assert run(["infer", "m", "--url", "http://there"]) == 2
    assert run(["infer", "m", "--json", file, "--csv", file, "--url", "http://there"]) == 2
