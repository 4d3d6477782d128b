"""The part of the admin API about rollouts. No decision is taken here."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field

from router.advance import Command
from router.controller import Controller
from router.errors import FailedPrecondition, InvalidArgument, NotFound
from router.evaluator import EVIDENCE
from router.headers import match_of, who_asks
from router.history import Who
from router.launch import Launch
from router.names import MAX_NUMBER
from router.phases import PEOPLE, Move
from router.pilot import Outcome, Pilot
from router.readiness import require_model
from router.replay import WATCH
from router.rollout import Rollout
from router.rollout_sights import exposure_document, notices, pairs_document
from router.rollout_views import rollout_document, summary_document
from router.spec import parse_spec, schema
from router.spec_text import read_document
from router.statedir import StoreThread
from router.store import Store
from router.views import event_document

Document = dict[str, Any]
Model = Annotated[str, InPath(max_length=128, description="the model's name")]
Identity = Annotated[str, InPath(max_length=256, description="the rollout's id")]
LAST_EVENTS = 10
SHOWN_PAIRS = 3

_BODY = {"requestBody": {"content": {"application/json": {"schema": {"$ref": "/api/v1/schemas/rollout"}}}}}
_WORDS = {str(move): move for move in PEOPLE if move is not Move.PROMOTE_STEP}


class CommandBody(BaseModel):
    """Why, for the history. `to`: the candidate to promote, where there are several; `step`: promote by one step."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=1024)] | None = None
    to: Annotated[str, Field(max_length=128)] = ""
    step: bool = False


class Desk:
    """What the endpoints ask: the pilot, the archive of what has ended, and what workers leave in `state`."""

    def __init__(self, pilot: Pilot, store: StoreThread, state: Path) -> None:
        self.pilot = pilot
        self.controller: Controller = pilot.controller
        self._store = store
        self._state = state

    async def document(self, rollout: Rollout) -> Document:
        """A rollout with its last events, what workers say of it, and the worst of the pairs."""
        events = await self._store.run(lambda store: store.events(None, LAST_EVENTS, rollout=rollout.id))
        route = self.controller.table.routes.get(rollout.model)
        told = rollout_document(rollout, route, self.pilot.clock(), self.pilot.obstacle(rollout.model))
        seen = {
            "notices": notices(rollout, self.controller.sight().live),
            "exposure": exposure_document(rollout, self._state),
            "pairs": await self.pairs(rollout, SHOWN_PAIRS),
        }
        return {**told, **seen, "events": [event_document(event) for event in events]}

    async def pairs(self, rollout: Rollout, most: int | None = None) -> list[Document]:
        """The worst pairs of each mirror; nothing is read where nothing was mirrored."""
        if not any(step.share_ppm for step in rollout.spec.steps):
            return []
        return await asyncio.to_thread(pairs_document, rollout, self._state, most)

    async def answer(self, response: Response, outcome: Outcome) -> Document:
        """A rollout after a command."""
        response.headers["ETag"] = f'"{outcome.rollout.number}"'
        told = await self.document(outcome.rollout)
        return {**told, "applied": outcome.applied, "workers": outcome.workers}

    async def found(self, identity: str) -> Rollout:
        """One rollout. Raises NotFound."""
        rollout = await self._store.run(lambda store: store.rollout(identity))
        if rollout is None:
            raise NotFound(f"there is no rollout {identity[:128]!r}")
        return self.pilot.informed(rollout)

    async def page(self, before: int | None, limit: int, model: str | None) -> tuple[Rollout, ...]:
        """Rollouts, the newest first."""
        return await self._store.run(lambda store: store.rollouts(before, limit, model))

    async def history(self, identity: str, after: int, limit: int) -> Document:
        """A page of what happened to one, oldest first."""
        await self.found(identity)
        page = await self._store.run(lambda store: store.events(after, limit, rollout=identity))
        return {"events": [event_document(event) for event in page], "next_after": page[-1].id if page else after}

    async def blocks(self, identity: str, after: int, limit: int) -> Document:
        """A page of the log of blocks, and what it must give when it is read again."""

        def read(store: Store) -> tuple[Rollout | None, tuple[Document, ...]]:
            return store.rollout(identity), store.blocks(identity, after, limit)

        rollout, rows = await self._store.run(read)  # at once, so that they fit together
        if rollout is None:
            raise NotFound(f"there is no rollout {identity[:128]!r}")
        recorded = {name: rollout.memory[name] for name in (EVIDENCE, WATCH) if name in rollout.memory}
        if rollout.spec.analysis is None or not recorded:
            raise FailedPrecondition(f"rollout {rollout.id} was not judged by evidence")
        job = {"policy": msgspec.to_builtins(rollout.spec.analysis), "steps": msgspec.to_builtins(rollout.spec.steps)}
        return {**job, "recorded": recorded, "rows": list(rows), "next_after": rows[-1]["number"] if rows else after}


def rollout_router(desk: Desk) -> APIRouter:
    """Routes for /api/v1."""
    router = APIRouter(tags=["rollouts"])
    pilot = desk.pilot

    @router.get("/schemas/rollout", summary="JSON Schema of a rollout's document")
    async def rollout_schema() -> Document:
        return schema()

    @router.get("/models/{model}/rollout", summary="The model's last rollout; its ETag is its number")
    async def rollout(model: Model, response: Response) -> Document:
        require_model(desk.controller.sight(), model)
        found = pilot.latest(model)
        response.headers["ETag"] = f'"{found.number}"'
        return await desk.document(found)

    @router.put(
        "/models/{model}/rollout", openapi_extra=_BODY, summary="Apply a rollout; the same again changes nothing"
    )
    async def apply(model: Model, request: Request, response: Response) -> Document:
        return await desk.answer(response, await pilot.start(await _launch(model, request, fresh=False)))

    @router.post("/models/{model}/rollout", openapi_extra=_BODY, status_code=201, summary="Begin a new rollout")
    async def begin(model: Model, request: Request, response: Response) -> Document:
        return await desk.answer(response, await pilot.start(await _launch(model, request, fresh=True)))

    @router.post("/models/{model}/rollout/{move}", summary="promote, pause, resume, abort, approve, reject, ...")
    async def command(
        model: Model, move: str, request: Request, response: Response, body: CommandBody | None = None
    ) -> Document:
        given = _command(move, body or CommandBody(), who_asks(request, body))
        return await desk.answer(response, await pilot.command(model, given))

    _add_archive(router, desk)
    return router


def _add_archive(router: APIRouter, desk: Desk) -> None:
    Limit = Annotated[int, Query(ge=1, le=1000)]
    After = Annotated[int, Query(ge=0, le=MAX_NUMBER, description="events above this id")]
    Before = Annotated[int | None, Query(ge=1, le=MAX_NUMBER, description="rollouts with a number below this one")]
    Only = Annotated[str | None, Query(max_length=128, description="only rollouts of this model")]

    @router.get("/rollouts", summary="Rollouts of all models, the newest first, a page at a time")
    async def rollouts(before: Before = None, limit: Limit = 50, model: Only = None) -> Document:
        page = await desk.page(before, limit, model)
        listed = [summary_document(desk.pilot.informed(rollout)) for rollout in page]
        return {"rollouts": listed, "next_before": page[-1].number if len(page) == limit else None}

    @router.get("/rollouts/{identity}/pairs", summary="The answers to mirrored requests that lie furthest apart")
    async def pairs(identity: Identity) -> Document:
        return {"mirrors": await desk.pairs(await desk.found(identity))}

    @router.get("/rollouts/{identity}/blocks", summary="The blocks of its evidence, and what was made of them")
    async def blocks(identity: Identity, after: After = 0, limit: Limit = 100) -> Document:
        return await desk.blocks(identity, after, limit)

    @router.get("/rollouts/{identity}", summary="One rollout, whenever it was")
    async def one(identity: Identity) -> Document:
        return await desk.document(await desk.found(identity))

    @router.get("/rollouts/{identity}/history", summary="What happened to a rollout, and why, oldest first")
    async def history(identity: Identity, after: After = 0, limit: Limit = 100) -> Document:
        return await desk.history(identity, after, limit)


async def _launch(model: str, request: Request, fresh: bool) -> Launch:
    document = read_document(await request.body())
    if not isinstance(document, dict):
        raise InvalidArgument("a rollout is an object such as {to: 2, strategy: canary}")
    named = document.setdefault("model", model)
    if named != model:
        raise InvalidArgument(f"model: is not {model}, which the address names")
    spec = parse_spec(document)
    asked = who_asks(request, None)
    reason = document.get("reason") or asked.reason
    return Launch(spec, replace(asked, reason=reason), match_of(request), fresh)


def _command(word: str, body: CommandBody, who: Who) -> Command:
    move = _WORDS.get(word)
    if move is None:
        raise NotFound(f"{word[:64]!r} is no word for a rollout; there are: {', '.join(_WORDS)}")
    if body.to and move is not Move.PROMOTE:
        raise InvalidArgument("to: belongs to promote")
    if body.step and move is not Move.PROMOTE:
        raise InvalidArgument("step: belongs to promote")
    return Command(Move.PROMOTE_STEP if body.step else move, who, body.to)
