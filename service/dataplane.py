"""The path of a request inside the gateway: choose, hold, bind, run, observe. The table is swapped whole."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from random import random
from time import monotonic_ns, perf_counter_ns
from types import MappingProxyType

from router.errors import NotFound, ResourceExhausted, ShedReason, Unavailable
from router.names import shown
from router.routes import Route, RouteTable, Variant, resolve
from router.split import choose
from router.telemetry import How, Outcome, Recorder, SeriesName
from router.tokens import Given
from service.bound import Bound, BoundRoute, Pick, Picks, routing_key
from service.calls import OUTCOME_OF_KIND, Answered, Assignment, Call, Refused, Tap, classes, pass_on, passes, run
from service.feedback import Feedback
from service.guards import Guards
from service.protocol.check import bind, check_head
from service.protocol.messages import NO_PARAMETERS, InferRequest, InferResponse, OutputTensor
from service.protocol.tensors import Array
from service.runtime.engine import Engine
from service.runtime.jobs import Recalled
from service.runtime.loaded import Loaded
from service.virtual import VirtualArm

__all__ = ["OFF_LOOP_BYTES", "OUTCOME_OF_KIND", "Assignment", "BoundRoute", "Call", "Dataplane"]

OFF_LOOP_BYTES = 64 * 1024
"""JSON data longer than this is parsed away from the loop: at about 10 ns a byte it would hold it up for long."""

FAR_NS = 1 << 62

TURN_NS = 5_000_000
"""So long routes are bound before requests have a turn."""

NOTHING_PREPARED: Mapping[str, BoundRoute] = MappingProxyType({})

Guard = Callable[[Route, Guards | None], Guards | None]
Taps = Callable[[SeriesName, str, Loaded], Tap | None]


def unguarded(_route: Route, _before: Guards | None) -> None:
    """For a program without fallback, mirrors and exposure limits."""


class Dataplane:
    """Serves requests by the table it holds. All but `infer` is synchronous, so a swap is never seen half.

    `guard` makes what a route wants beside its split (fallback, mirrors, exposure) from what the route had before: None
    where it wants none of it. `taps` gives what takes the inputs of a variant, by name, salt of its route and version.
    `feedback` None: answers carry no tokens.
    """

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        guard: Guard = unguarded,
        taps: Taps | None = None,
        feedback: Feedback | None = None,
    ) -> None:
        self._engine = engine
        self._recorder = recorder
        self._guard = guard
        self._taps = taps
        self._feedback = feedback
        self._routes: dict[str, BoundRoute] = {}
        self.table = RouteTable()
        self.draining = False
        self._was_ready = False
        self._let_go_of = 0

    async def prepare(self, table: RouteTable) -> dict[str, BoundRoute]:
        """Bind the routes of models that are new here, for `swap`: of thousands a few at each turn, between which
        requests are answered. What is known here is bound when the table is swapped. Raises like `swap`."""
        prepared, begun = dict[str, BoundRoute](), perf_counter_ns()
        for model, route in table.routes.items():
            if model in self._routes:
                continue
            prepared[model] = self._bind(route, None)
            if perf_counter_ns() - begun > TURN_NS:
                await asyncio.sleep(0)
                begun = perf_counter_ns()
        return prepared

    def swap(self, table: RouteTable, prepared: Mapping[str, BoundRoute] = NOTHING_PREPARED) -> None:
        """Route by `table` from the next request on. Series are bound first: where that fails, the old table stays.
        `prepared`: what `prepare` gave."""
        routes = {}
        for model, route in table.routes.items():
            known = self._routes.get(model) or prepared.get(model)
            # The same value means the same split: what is bound to it goes on counting.
            routes[model] = known if known is not None and known.route == route else self._bind(route, known)
        before, self._routes = self._routes, routes
        self.table = table
        if prepared:
            self._let_go_of = -1  # a version may have gone since they were bound
        for model, bound in routes.items():
            for version in before[model].reached - bound.reached if model in before else ():
                if (left := self._engine.peek(model, version)) is not None:
                    left.recall()  # what waits there and has not begun is given to another (rulings 7)

    def let_go(self) -> None:
        """Hold no version that the engine holds no more: to be called when versions may have gone. What is counted
        stays, and is found again by the next request."""
        if self._let_go_of == self._engine.departures:
            return
        self._let_go_of = self._engine.departures
        for model, bound in self._routes.items():
            bound.let_go(partial(self._holds, model))

    def _holds(self, model: str, version: int, loaded: Loaded | None) -> bool:
        now = self._engine.peek(model, version)
        return now is not None and loaded is not None and loaded in now.lanes

    def expect(self, model: str) -> BoundRoute:
        """The route of a model. Raises NotFound for an unknown one, Unavailable for one that cannot be served."""
        bound = self._routes.get(model)
        if bound is None:
            raise self._unknown(model)
        return bound

    def require_room(self, model: str, version: str | None, headers: Mapping[bytes, bytes]) -> None:
        """Raises what `expect` does, and Refused for a request that would be refused whatever its body holds, which
        costs more to read than to refuse. It is counted for its variant as ever. Where there are several, the body may
        say who is to answer."""
        bound = self.expect(model)
        if version is not None or bound.sole is None or bound.guards is not None:
            return
        loaded = self._engine.peek(model, bound.sole)
        if loaded is None or not loaded.executor.room.queued:
            return
        now = perf_counter_ns()
        try:
            loaded.executor.room.require(FAR_NS, now)
        except ResourceExhausted as full:
            assignment = self.assign(Call(model, None, headers, now, now), InferRequest({}))
            assignment.fail(full)
            raise Refused(assignment, full) from full

    def assign(self, call: Call, request: InferRequest) -> Assignment:
        """Give the request to a version and count it there. Raises NotFound for an unknown model, version or alias."""
        bound = self.expect(call.model)
        variant, how, key = self._choose(bound, call, request)
        arm = self._series(bound, variant, how >= How.RULE, self._lane(call.model, variant))
        arm.series.assigned(how)
        assignment = self.assignment(arm, how, call.arrived_ns, perf_counter_ns())
        guards = None if how is How.VERSION else bound.guards  # who names a version wants that one
        if guards is not None and how is How.RULE and guards.asks_key(variant.name):
            key = routing_key(bound, call.headers, request.parameters)
        self._admit(guards, arm, assignment, key)
        return assignment

    def assignment(self, arm: Bound, how: int, arrived_ns: int, now_ns: int) -> Assignment:
        """The assignment of a request that was counted as given to `arm`, at `now_ns`."""
        return Assignment(
            model=arm.model,
            variant=arm.variant.name,
            version=arm.variant.version,
            revision=self.table.revision,
            series=arm.series,
            started_ns=now_ns,
            decode_ns=now_ns - arrived_ns,
            how=how,
            tap=arm.tap,
            stamp=arm.stamp,
            apart=arm.variant.apart,
        )

    def plain_route(self, model: str) -> BoundRoute | None:
        """The route of a model without rules and copies to be made, if some of its variants run requests together."""
        bound = self._routes.get(model)
        if bound is None or not bound.shares or bound.rules:
            return None
        return bound if bound.guards is None or not bound.guards.takes_copies else None

    def pick(self, bound: BoundRoute, headers: Mapping[bytes, bytes], now_ns: int) -> Pick:
        """The first half of `assign`, for a plain route and a request without parameters, at `now_ns`. It is not
        counted as given to anybody yet."""
        picks = bound.picks
        if picks.changes != self._engine.changes or now_ns >= picks.until_ns:
            picks = bound.picks = Picks(self._engine.changes, now_ns)
        key = routing_key(bound, headers, NO_PARAMETERS)
        if key is None:
            return self._drawn(bound, picks)
        pick = picks.by_key.get(key)
        if pick is None:
            arm = self._arm(bound, choose(bound.route, key, 0.0))
            pick = Pick(arm, How.SPLIT_KEYED, key, arm.draw(key, now_ns))
            picks.remember(key, pick)
        return pick

    def _drawn(self, bound: BoundRoute, picks: Picks) -> Pick:
        pair = picks.alone
        if pair is None:
            variant = choose(bound.route, None, random())
            pair = picks.by_draw.get(variant.name)
            if pair is None:
                pair = picks.by_draw[variant.name] = self._pair(bound, variant)
                if len(bound.route.variants) == 1:
                    picks.alone = pair
        virtual = pair[0].arm.virtual
        return pair[virtual is not None and virtual.takes(None, 0)]

    def _pair(self, bound: BoundRoute, variant: Variant) -> tuple[Pick, Pick]:
        arm = self._arm(bound, variant)
        twice = None if arm.virtual is None else arm.virtual.series
        return Pick(arm, How.SPLIT_DRAWN, None, None, True), Pick(arm, How.SPLIT_DRAWN, None, twice, True)

    def _arm(self, bound: BoundRoute, variant: Variant) -> Bound:
        return self._series(bound, variant, False, self._lane(bound.route.model, variant))

    def guarded(self, guards: Guards | None, arm: Bound, how: int, told: tuple[int, bytes | None]) -> Assignment:
        """The other half of it. `told`: when the request came, and its key."""
        assignment = self.assignment(arm, how, told[0], perf_counter_ns())
        self._admit(guards, arm, assignment, told[1])
        return assignment

    def _admit(self, guards: Guards | None, arm: Bound, assignment: Assignment, key: bytes | None) -> None:
        if guards is not None:
            guards.admit(assignment, key if guards.asks_key(arm.variant.name) else None)
        # Not what the guards gave to another, or count for its caller already.
        if assignment.series is arm.series and assignment.unit is None:
            assignment.unit = arm.draw(key, assignment.started_ns)
            if assignment.unit is not None:
                assignment.unit.assigned(assignment.how)

    def infer(self, assignment: Assignment, call: Call, request: InferRequest) -> Awaitable[InferResponse]:
        """Run the assigned version, or the one that steps in for it. The caller closes the assignment, also when this
        raises."""
        guards = assignment.guards
        if guards is None or not guards.falls_back:
            return self._run(assignment, call, request)
        return self._guarded(guards.infer(self._run, assignment, call, request), assignment, call, request)

    def guards(self) -> dict[str, Guards]:
        """What guards a route at present, by model."""
        return {model: bound.guards for model, bound in self._routes.items() if bound.guards is not None}

    async def _guarded(
        self, running: Awaitable[InferResponse], assignment: Assignment, call: Call, request: InferRequest
    ) -> InferResponse:
        try:
            return await running
        except Recalled:  # no failure of the candidate, and not to be answered within its part of the time
            return await self._given_anew(assignment, call, request)

    async def _given_anew(self, assignment: Assignment, call: Call, request: InferRequest) -> InferResponse:
        """Run a request that was taken back before it began: where it named the version, there again, else on what the
        present table chooses."""
        if call.version is None:
            fresh = self.assign(call, request)
            fresh.decode_ns, fresh.tap = assignment.decode_ns, assignment.tap
            assignment.close(Outcome.DIVERTED)
            assignment.become(fresh)
        return await self.infer(assignment, call, request)

    async def _run(self, assignment: Assignment, call: Call, request: InferRequest) -> InferResponse:
        loaded = self._engine.acquire(assignment.model, assignment.version)
        outputs = None
        try:
            if loaded.passes and passes(loaded, assignment, call, request):
                check_head(request, loaded.signature)
                return await pass_on(loaded, assignment, call)
            if call.body_bytes <= OFF_LOOP_BYTES or not request.is_text:
                feeds = bind(request, loaded.signature)
            else:
                feeds = await asyncio.to_thread(bind, request, loaded.signature)
                self._require_reached(assignment, call)
            if assignment.tap is not None:
                self._tap(assignment, call, request, feeds)
            lane = loaded.apart if assignment.apart else loaded
            names = request.output_names or lane.output_names
            outputs = await run(lane, assignment, call, (feeds, names))
        except Recalled:
            if assignment.guards is not None and assignment.guards.falls_back:
                raise
        finally:
            self._engine.release(loaded)
        if outputs is None:
            return await self._given_anew(assignment, call, request)
        assignment.non_finite = loaded.manifest.non_finite
        if (guards := assignment.guards) is not None:
            if guards.looks_at_answers:
                guards.answered(assignment, Answered(call, request, loaded, feeds, outputs, names))
            else:
                guards.passed_by(assignment, loaded)
        assignment.cells, more = loaded.watch.cells(outputs)
        if more:
            assignment.series.more(more)
        tensors = [OutputTensor(name, loaded.datatypes[name], outputs[name]) for name in names]
        if request.outputs is not None and any(output.classification for output in request.outputs):
            tensors = await asyncio.to_thread(classes, tensors, request.outputs, loaded)
        return InferResponse(assignment.model, str(assignment.version), tensors, request.id)

    def _require_reached(self, assignment: Assignment, call: Call) -> None:
        """Raises Recalled where the route has left the version while the request was being read."""
        bound = self._routes.get(assignment.model)
        if bound is not None and call.version is None and assignment.version not in bound.reached:
            raise Recalled("the version was taken out of the route")

    def _tap(self, assignment: Assignment, call: Call, request: InferRequest, feeds: Mapping[str, Array]) -> None:
        """Offer the inputs to be sampled, before anything can fail and once however many versions try."""
        tap, assignment.tap = assignment.tap, None
        bound = self._routes.get(assignment.model)
        if tap is not None and bound is not None:
            tap(feeds, call.body_bytes, lambda: routing_key(bound, call.headers, request.parameters))

    def _choose(self, bound: BoundRoute, call: Call, request: InferRequest) -> tuple[Variant, How, bytes | None]:
        """Who answers, what decided, and the key of a request that was split."""
        if call.version is not None:
            return self._named(bound, call.version), How.VERSION, None
        for header, wanted, variant in bound.rules:
            value = call.headers.get(header)
            if value is not None and wanted in (None, value):
                return variant, How.RULE, None
        key = routing_key(bound, call.headers, request.parameters)
        variant = choose(bound.route, key, random())
        return variant, How.SPLIT_DRAWN if key is None else How.SPLIT_KEYED, key

    def _named(self, bound: BoundRoute, reference: str) -> Variant:
        version = resolve(bound.route, reference)
        if (reason := self.table.unavailable.get(bound.route.model, {}).get(version)) is not None:
            raise Unavailable(f"{bound.route.model}:{version} cannot be served: {reason}", reason=ShedReason.NOT_READY)
        if version not in self.table.wanted.get(bound.route.model, {}):
            known = ", ".join(map(str, sorted(self.table.wanted.get(bound.route.model, {})))) or "none"
            raise NotFound(f"{bound.route.model} has no version {version} to serve; it has: {known}")
        names = (variant.name for variant in bound.route.variants if variant.version == version)
        return Variant(next(names, str(version)), version, 0)

    def _series(self, bound: BoundRoute, variant: Variant, direct: bool, loaded: Loaded | None) -> Bound:
        key = (variant.name, variant.version, direct)
        known = bound.series.get(key)
        if known is not None and known.loaded is loaded:
            return known
        route = bound.route
        name = SeriesName(route.model, variant.version, variant.name, route.epoch, direct)
        series = self._recorder.variant(name, loaded.watch.families if loaded else (), monotonic_ns())
        tap, stamp = None, None
        if self._taps is not None and loaded is not None and not direct:
            tap = self._taps(name, route.salt or route.model, loaded)
        if self._feedback is not None and loaded is not None:
            given = Given(route.model, variant.version, variant.name, route.epoch, "direct" if direct else "split")
            stamp = self._feedback.stamp(given, loaded.watch)
        virtual = None
        if self._recorder.checks_itself and not direct and variant.name == bound.main:
            families = loaded.watch.families if loaded else ()
            virtual = VirtualArm(self._recorder.virtual(name, families, monotonic_ns()), random)
        found = bound.series[key] = Bound(route.model, variant, loaded, series, tap, stamp, virtual)
        bound.shares = any(arm.loaded is not None and arm.loaded.batcher is not None for arm in bound.series.values())
        return found

    def _bind(self, route: Route, before: BoundRoute | None) -> BoundRoute:
        bound = BoundRoute.of(route)
        bound.guards = self._guard(route, before.guards if before else None)
        for variant in route.variants:
            if variant.weight_ppm > 0:
                self._series(bound, variant, False, self._lane(route.model, variant))
        return bound

    def _lane(self, model: str, variant: Variant) -> Loaded | None:
        """Where requests of the variant wait and run, once it is loaded."""
        loaded = self._engine.peek(model, variant.version)
        return loaded.apart if variant.apart and loaded is not None else loaded

    # ---- what health and metadata ask ----

    def not_ready_reason(self) -> str | None:
        """Why this worker should get no traffic; None once every routed version is loaded or declared unavailable.

        What comes later and is still loading takes that not back: all else is served, and the model's own readiness
        says so.
        """
        if self.draining:
            return "draining"
        if self._was_ready:
            return None
        if not self.table.scanned:
            return "the model repository has not been read through yet"
        for model, bound in self._routes.items():
            for variant in bound.route.variants:
                if variant.weight_ppm > 0 and not self._engine.has_settled(model, variant.version):
                    return f"{model}:{variant.version} is loading"
        self._was_ready = True
        return None

    def model_not_ready_reason(self, model: str, reference: str | None) -> str | None:
        """Why a model, or the version named, is not answered here. Raises NotFound when there is no such thing."""
        try:
            bound = self.expect(model)
            named = None if reference is None else self._named(bound, reference).version
        except Unavailable as error:
            return error.message
        if named is not None:
            return self._engine.not_ready_reason(model, named)
        weighted = (variant.version for variant in bound.route.variants if variant.weight_ppm > 0)
        return next(filter(None, (self._engine.not_ready_reason(model, version) for version in weighted)), None)

    def described(self, model: str, reference: str | None) -> Loaded:
        """The version whose metadata is asked for: the one named, else the ready one with the largest weight."""
        bound = self.expect(model)
        if reference is not None:
            wanted = [self._named(bound, reference).version]
        else:
            wanted = [v.version for v in sorted(bound.route.variants, key=lambda v: -v.weight_ppm)]
        found = next(filter(None, (self._engine.peek(model, version) for version in wanted)), None)
        if found is None:
            why = self._engine.not_ready_reason(model, wanted[0])
            raise Unavailable(f"{model} is not ready: {why}", retry_after_seconds=1, reason=ShedReason.NOT_READY)
        return found

    def version_of(self, model: str, reference: str) -> int:
        """The version that a number or an alias names. Raises NotFound, or Unavailable where it cannot be served."""
        return self._named(self.expect(model), reference).version

    def ready_versions(self, model: str) -> list[int]:
        """The versions of a model that are loaded in this worker."""
        return [version for version in sorted(self.table.wanted.get(model, {})) if self._engine.peek(model, version)]

    def _unknown(self, model: str) -> NotFound | Unavailable:
        broken = self.table.unavailable.get(model)
        if broken:
            reasons = "; ".join(f"version {version}: {reason}" for version, reason in sorted(broken.items())[:5])
            text = f"{model} has no version that can be served ({reasons})"
            return Unavailable(text, reason=ShedReason.NOT_READY)
        return NotFound(f"there is no model {shown(model)}; GET /v2/models lists those there are")
