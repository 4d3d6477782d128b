"""The front end's own decisions: paths, ids, bodies, and what becomes of errors."""

import json

import pytest

from router.errors import PayloadTooLarge, ResourceExhausted
from service.http.reading import read_body
from service.http.replies import failed
from service.http.v2 import request_id_of, target


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/models/digits/infer", ("digits", None)),
        ("/v2/models/digits/versions/2/infer", ("digits", "2")),
        ("/v2/models/digits/versions/stable/infer", ("digits", "stable")),
    ],
)
def test_a_path_names_the_model_and_maybe_the_version(path, expected):
    assert target(path) == expected


@pytest.mark.parametrize(
    "path",
    ["/v2/models//infer", "/v2/models/a/b/infer", "/v2/models/a/versions//infer", "/v2/models/a/versions/1/2/infer"],
)
def test_other_paths_name_no_model(path):
    assert target(path) == ("", None)


@pytest.mark.parametrize("given", [b"", None, b"a b", b"x" * 129, b"caf\xe9", b"a\r\nb"])
def test_an_id_that_could_harm_a_log_is_replaced(given):
    made = request_id_of(given)

    assert made.isalnum()
    assert made != request_id_of(given)


def test_ids_that_are_made_differ():
    made = [request_id_of(None) for _ in range(600)]
    assert (len(set(made)), {len(one) for one in made}) == (600, {20})


def test_a_good_id_is_kept():
    assert request_id_of(b"7f3e-a:1/b") == "7f3e-a:1/b"


def receiver(*pieces: bytes):
    messages = [
        {"type": "http.request", "body": piece, "more_body": n < len(pieces)} for n, piece in enumerate(pieces, 1)
    ]

    async def receive():
        return messages.pop(0)

    return receive


async def test_a_body_is_joined_from_its_pieces():
    assert await read_body(receiver(b"ab", b"", b"cd"), 4) == b"abcd"


@pytest.mark.parametrize("pieces", [(b"abcde",), (b"ab", b"cde", b"never read")])
async def test_a_body_above_the_limit_is_refused_as_soon_as_that_is_known(pieces):
    with pytest.raises(PayloadTooLarge, match="4 bytes"):
        await read_body(receiver(*pieces), 4)


def test_an_error_becomes_its_status_one_body_and_retry_after():
    reply = failed(ResourceExhausted("full", retry_after_seconds=0.2), "id-1", b"serin-version: 2\r\n")

    headers = dict(reply.headers)
    assert reply.status == 429
    assert json.loads(reply.body) == {"error": "full", "code": "RESOURCE_EXHAUSTED", "request_id": "id-1"}
    assert headers[b"retry-after"] == b"1"
    assert headers[b"serin-version"] == b"2"
    assert int(headers[b"content-length"]) == len(reply.body)
