"""The OpenAPI document of the public port with a page for each model: what it takes, and a request that works."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import HTMLResponse

from router.errors import SerinError
from service.about import shown_shape
from service.dataplane import Dataplane
from service.protocol.json_codec import json_entry
from service.protocol.messages import OutputTensor
from service.protocol.tensors import TensorSpec
from service.runtime import repository
from service.runtime.company import has_free_rows
from service.runtime.golden import parse_golden
from service.runtime.loaded import Loaded
from service.runtime.profile import blank_feeds
from service.runtime.seats import Feeds

Document = dict[str, Any]
Known = dict[tuple[str, int, str], Document]
"""Pages by model, version and digest."""

MAX_PAGES = 500
MAX_ELEMENTS = 4096
"""Of an example; larger inputs have none."""
URL = "/openapi.json"
REFUSAL = {"$ref": "#/components/schemas/ErrorBody"}


def add_pages(app: FastAPI, dataplane: Dataplane, models: Path | None) -> None:
    """The document and its viewers. `models`: where golden inputs are; None: examples are zeros."""

    known: Known = {}
    one_at_a_time = asyncio.Lock()

    @app.get(URL, include_in_schema=False)
    async def openapi() -> Response:
        document = app.openapi()
        async with one_at_a_time:
            pages = await asyncio.to_thread(_pages, _described(dataplane), models, known)
        return Response(
            orjson.dumps({**document, "paths": {**document["paths"], **pages}}), media_type="application/json"
        )

    @app.get("/docs", include_in_schema=False)
    async def swagger() -> HTMLResponse:
        return get_swagger_ui_html(openapi_url=URL, title=app.title)

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> HTMLResponse:
        return get_redoc_html(openapi_url=URL, title=app.title)


def _described(dataplane: Dataplane) -> list[Loaded]:
    """The version of each model that its metadata describes; of those that can be described now."""
    found = []
    for model in sorted(dataplane.table.routes)[:MAX_PAGES]:
        try:
            found.append(dataplane.described(model, None))
        except SerinError:
            continue
    return found


def _pages(described: list[Loaded], models: Path | None, known: Known) -> Document:
    """Pages by path. `known` keeps those of the same content, so that golden rows are read once, however often anybody
    asks, and forgets the others."""
    pages = {}
    for loaded in described:
        key = loaded.model, loaded.version, loaded.digest
        pages[key] = known.get(key) or page(loaded, example(loaded, models))
    known.clear()
    known.update(pages)
    return {f"/v2/models/{model}/infer": {"post": found} for (model, _, _), found in pages.items()}


def page(loaded: Loaded, body: Document | None) -> Document:
    """The operation that asks one model, with an example of its request."""
    content: Document = {"schema": {"$ref": "#/components/schemas/InferBody"}}
    if body is not None:
        content["example"] = body
    answer = {"schema": {"$ref": "#/components/schemas/InferAnswer"}}
    return {
        "tags": [loaded.model],
        "operationId": f"ask-{loaded.model}",
        "summary": f"Ask {loaded.model}",
        "description": _text(loaded),
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "200": {"description": "its outputs", "content": {"application/json": answer}},
            "default": {"description": "refused", "content": {"application/json": {"schema": REFUSAL}}},
        },
    }


def example(loaded: Loaded, models: Path | None) -> Document | None:
    """A request body: the first golden row of the version, else zeros; None where that would be large."""
    feeds = _golden(loaded, models) or blank_feeds(loaded.signature, 1)
    if feeds is None or feeds.keys() != loaded.signature.inputs_by_name.keys():
        return None
    if has_free_rows(loaded.signature):
        feeds = {name: array[:1] for name, array in feeds.items()}
    if sum(array.size for array in feeds.values()) > MAX_ELEMENTS:
        return None
    specs = loaded.signature.inputs_by_name
    entries = [json_entry(OutputTensor(name, specs[name].datatype, array)) for name, array in feeds.items()]
    plain: Document = orjson.loads(orjson.dumps({"inputs": entries}, option=orjson.OPT_SERIALIZE_NUMPY))
    return plain


def _golden(loaded: Loaded, models: Path | None) -> Feeds | None:
    golden = loaded.manifest.golden
    if models is None or golden is None:
        return None
    try:
        content = repository.read_beside(models, loaded.model, golden.file)
        cases = () if content is None else parse_golden(content, loaded.version)
    except (repository.Refused, SerinError):  # the version was loaded from what stood there before
        return None
    return cases[0].feeds if cases else None


def _text(loaded: Loaded) -> str:
    manifest, signature = loaded.manifest, loaded.signature
    lines = [manifest.description or "One of the models of this gateway.", ""]
    lines += _lines("input", signature.inputs, {name: facts.description for name, facts in manifest.inputs.items()})
    lines += _lines("output", signature.outputs, {name: facts.description for name, facts in manifest.outputs.items()})
    return "\n".join(lines)


def _lines(part: str, specs: tuple[TensorSpec, ...], told: Mapping[str, str]) -> list[str]:
    found = []
    for spec in specs:
        meaning = f": {told[spec.name]}" if told.get(spec.name) else ""
        found.append(f"- {part} `{spec.name}` ({spec.datatype}, {shown_shape(spec)}){meaning}")
    return found
