"""The repository on the public port: rows for clients, and who may change what."""

from types import SimpleNamespace
from typing import Any

import pytest

from router.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable, Unimplemented
from service.shelf import Shelf

MODELS = {
    "models": [
        {
            "name": "digits",
            "error": None,
            "versions": [
                {"version": 1, "state": "READY", "reason": ""},
                {"version": 2, "state": "UNAVAILABLE", "reason": "unloaded"},
            ],
        },
        {"name": "stats", "error": "the name is taken", "versions": []},
    ]
}


class Link:
    """Stands for the controller; `away` when it does not answer."""

    def __init__(self, away: bool = False) -> None:
        self.away = away
        self.asked: list[tuple[Any, ...]] = []

    async def index(self) -> Any:
        if self.away:
            raise Unavailable("away")
        return MODELS

    async def load(self, model: str, version: int | None = None, actor: str = "") -> None:
        self.asked.append(("load", model, version))

    async def unload(self, model: str, version: int | None = None, actor: str = "") -> None:
        self.asked.append(("unload", model, version, *([actor] if actor else [])))


def shelf(link: Link, open_to_callers: bool = True) -> Shelf:
    dataplane: Any = SimpleNamespace(
        table=SimpleNamespace(routes={"digits": None}), ready_versions=lambda model: [1, 3]
    )
    return Shelf(link, dataplane, open_to_callers)  # type: ignore[arg-type]


async def test_every_version_is_a_row_and_a_model_without_any_is_one_too() -> None:
    assert await shelf(Link()).index() == [
        {"name": "digits", "version": "1", "state": "READY", "reason": ""},
        {"name": "digits", "version": "2", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "stats", "state": "UNAVAILABLE", "reason": "the name is taken"},
    ]
    assert [row["version"] for row in await shelf(Link()).index(only_ready=True)] == ["1"]


async def test_without_a_controller_the_index_tells_what_this_worker_holds() -> None:
    assert [(row["name"], row["version"]) for row in await shelf(Link(away=True)).index()] == [
        ("digits", "1"),
        ("digits", "3"),
    ]


async def test_loads_and_unloads_go_to_the_controller_with_the_version_that_was_named() -> None:
    link = Link()
    await shelf(link).load("digits", None, {})
    await shelf(link).unload("digits", "2", "ci")
    assert link.asked == [("load", "digits", None), ("unload", "digits", 2, "ci")]


@pytest.mark.parametrize("reference", ["0", "-1", "x", "1.5", "１", "9" * 19, ""])
async def test_what_is_no_version_is_not_found(reference: str) -> None:
    with pytest.raises(NotFound):
        await shelf(Link()).load("digits", reference, {})


async def test_files_and_configurations_are_not_taken_from_callers() -> None:
    for parameters in ({"config": "{}"}, {"file:1/model.onnx": "AAAA"}):
        with pytest.raises(Unimplemented):
            await shelf(Link()).load("digits", None, parameters)


@pytest.mark.parametrize("name", ["uri", "url", "model_uri", "anything"])
async def test_a_load_takes_no_address_from_callers(name: str) -> None:
    link = Link()
    with pytest.raises(InvalidArgument, match="repository only"):
        await shelf(link).load("digits", None, {name: "file:///etc/passwd"})
    assert link.asked == []


@pytest.mark.parametrize("model", ["../digits", "digits/1", ".", "", "a" * 129])
async def test_what_is_no_name_never_gets_to_the_controller(model: str) -> None:
    link = Link()
    with pytest.raises(NotFound):
        await shelf(link).load(model, None, {})
    with pytest.raises(NotFound):
        await shelf(link).unload(model, "1")
    assert link.asked == []


async def test_a_port_that_others_reach_changes_nothing() -> None:
    link = Link()
    for call in (shelf(link, False).load("digits", None, {}), shelf(link, False).unload("digits", None)):
        with pytest.raises(PermissionDenied, match="loopback"):
            await call
    assert link.asked == []
    assert len(await shelf(link, False).index()) == 3
