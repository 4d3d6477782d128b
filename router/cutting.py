"""Blocks of evidence, cut from arms that only grow: by time and by numbers of requests, never by how they ended. Pure.

A block belongs to one epoch. What ends late in an epoch that is over still becomes a block of it, as long as its
counts can be read. A worker's counts begin once the candidate is warm there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce
from operator import lt
from typing import Final

from router.cursor import Arms, Counted, Cursor, Ground, Mark, Warmth
from router.evidence import MIN_AGE_SECONDS, Arm, Block
from router.policy import Policy

LINGER_SECONDS: Final = 12.0
"""How long an epoch that is over is looked at: a little longer than its counts are kept for certain."""

GROWTH: Final = 3600.0
"""A block is at least this part of the rollout's age old (and a minute at most), so that a long one has few blocks."""

SOURCE: Final = "workers"
GOLDEN_ROWS: Final = "golden"
"""The source of blocks that hold golden rows."""

MIRRORED: Final = "mirrored"
"""The flag that says how many of an arm's requests were only mirrored."""

TOGETHER: Final = "together"
"""The flag that says how many of an arm's timed requests ran with another one and are not among its latencies."""

MOST_TOGETHER: Final = 1 / 3
"""A larger part of a version's requests than this runs with others: its latency cannot be compared."""
ENOUGH_RUNS: Final = 100


def cut(
    cursor: Cursor, counted: Mapping[int, Counted], ground: Ground, policy: Policy
) -> tuple[Cursor, tuple[Block, ...]]:
    """The blocks that are due, and the cursor behind them; the same cursor when there is nothing to remember."""
    cursor = _begun(cursor, ground)
    cursor = _warmed(cursor, counted, ground, policy)
    marks: list[Mark] = []
    blocks: list[Block] = []
    for mark in cursor.marks:
        kept, found = _cut_one(cursor, mark, counted.get(mark.epoch, Counted()), (ground, policy))
        marks += [] if kept is None else [kept]
        blocks += found
    if tuple(marks) == cursor.marks and not blocks:
        return cursor, ()
    together = _together(marks, cursor.together)
    cursor = replace(cursor, index=cursor.index + bool(blocks), marks=tuple(marks), together=together)
    return cursor, tuple(blocks)


def _begun(cursor: Cursor, ground: Ground) -> Cursor:
    """With a mark for the running epoch, and the time since when others are over. A clock that went back (a reboot)
    begins anew."""
    marks = tuple(_not_after(mark, ground.now) for mark in cursor.marks)
    over = tuple(
        replace(mark, closed=ground.now) if mark.epoch != ground.epoch and mark.closed is None else mark
        for mark in marks
    )
    if all(mark.epoch != ground.epoch for mark in over):
        over = (*over, Mark(ground.epoch, ground.now, ground.weights, ground.mirrors))
    if over == cursor.marks:
        return cursor
    return replace(cursor, marks=over, began=min(cursor.began, ground.now) if cursor.marks else ground.now)


def _not_after(mark: Mark, now: float) -> Mark:
    closed = mark.closed if mark.closed is None else min(mark.closed, now)
    return mark if mark.at <= now and closed == mark.closed else replace(mark, at=min(mark.at, now), closed=closed)


def _together(marks: Iterable[Mark], known: bool) -> bool:
    """Whether a version runs many of its requests together, by the newest epoch with enough of them. How long those
    take depends on how many come at a time, so on the version's share of the traffic and not only on the version."""
    for mark in reversed(tuple(marks)):
        seen = [arm.flags.get(TOGETHER, (0, 0)) for arm in (mark.candidate, mark.stable)]
        if max(timed for timed, _ in seen) >= ENOUGH_RUNS:
            return any(timed >= ENOUGH_RUNS and together > MOST_TOGETHER * timed for timed, together in seen)
    return known


# Cutting


def _cut_one(
    cursor: Cursor, mark: Mark, counted: Counted, by: tuple[Ground, Policy]
) -> tuple[Mark | None, list[Block]]:
    ground, policy = by
    candidate, stable, baseline = _arms(cursor, mark, counted, policy)
    before = (mark.candidate, mark.stable, mark.baseline, *mark.golden)
    went_back = any(map(_fell, (candidate, stable, baseline, *counted.golden), before))
    if mark.closed is not None and (went_back or ground.now - mark.closed > LINGER_SECONDS):
        return None, []  # its cells count another epoch by now, or nobody waits for it any more
    moved = replace(mark, at=ground.now, candidate=candidate, stable=stable, baseline=baseline, golden=counted.golden)
    head = Block(ground.model, ground.rollout, mark.epoch, SOURCE, cursor.index + 1)
    if went_back:
        return moved, [replace(head, problem="the counters went back: a state directory was lost")]
    weights = mark.weights or (None, None)
    ours, theirs = candidate.since(mark.candidate, weights[0]), stable.since(mark.stable, weights[1])
    rows = [arm.since(known) for arm, known in zip(counted.golden, mark.golden, strict=True)]
    requests, ran, age = ours.done + theirs.done, sum(arm.done for arm in rows), ground.now - mark.at
    if not _is_due(requests + ran, age, mark, (ground.now - cursor.began, policy)):
        return mark, []
    # Golden rows are no part of the traffic: compared with each other, as a stratum of their own.
    golden = [replace(head, source=GOLDEN_ROWS, candidate=rows[0], stable=rows[1])] if ran else []
    if requests + ours.assigned + theirs.assigned == 0:
        return moved, golden
    beside = baseline.since(mark.baseline) if baseline.done else None
    return moved, [*golden, replace(head, candidate=ours, stable=theirs, baseline=beside)]


def _is_due(requests: int, age: float, mark: Mark, by: tuple[float, Policy]) -> bool:
    whole, policy = by
    if mark.closed is not None:
        return requests > 0 and (mark.at <= mark.closed or age >= MIN_AGE_SECONDS)
    least = min(policy.max_age_seconds, max(MIN_AGE_SECONDS, whole / GROWTH))
    return (requests >= policy.min_requests and age >= least) or age >= policy.max_age_seconds


def _fell(now: Arm, before: Arm) -> bool:
    """Whether a count is lower than it was: no counter does that by itself."""
    plain = (now.assigned < before.assigned, now.done < before.done, now.errors < before.errors)
    cells = (
        (now.latency, before.latency),
        (now.followed, before.followed),
        (now.classes, before.classes),
        (now.scores, before.scores),
    )
    return any(plain) or any(any(map(lt, ours, theirs)) for ours, theirs in cells)


def _arms(cursor: Cursor, mark: Mark, counted: Counted, policy: Policy) -> Arms:
    """Candidate, stable and baseline over all workers that are warm."""
    slots = sorted(counted.candidate.keys() | counted.stable.keys())
    parts = [_of_slot(cursor, mark, counted, slot) for slot in slots]
    warmed = _warms(policy, mark)
    kept = [part for slot, part in zip(slots, parts, strict=True) if not warmed or _is_warm(cursor, slot)]
    candidate, stable, baseline = (_sum(part[arm] for part in kept) for arm in range(3))
    if mark.mirrors:
        ended, failed = counted.mirrored
        candidate = candidate + Arm(done=ended, errors=failed, flags={MIRRORED: (ended, failed)})
    return candidate, stable, baseline


def _of_slot(cursor: Cursor, mark: Mark, counted: Counted, slot: int) -> Arms:
    arms = _slot_arms(counted, slot)
    warmth = cursor.warmth.get(str(slot))
    left_out = (warmth.left_out or {}).get(str(mark.epoch)) if warmth is not None else None
    if left_out is None:
        return arms
    ours, theirs, beside = (arm.since(before) for arm, before in zip(arms, left_out, strict=True))
    return ours, theirs, beside


def _slot_arms(counted: Counted, slot: int) -> Arms:
    return counted.candidate.get(slot, Arm()), counted.stable.get(slot, Arm()), counted.baseline.get(slot, Arm())


def _sum(arms: Iterable[Arm]) -> Arm:
    found = tuple(arms)
    return reduce(lambda one, other: one + other, found) if found else Arm()


# Warming up


def _warms(policy: Policy, mark: Mark) -> bool:
    """Whether a cold start could be seen in this epoch: not while the candidate has no weight."""
    return mark.weights is not None and (policy.warmup_seconds > 0 or policy.warmup_requests > 0)


def _is_warm(cursor: Cursor, slot: int) -> bool:
    warmth = cursor.warmth.get(str(slot))
    return warmth is not None and warmth.left_out is not None


def _warmed(cursor: Cursor, counted: Mapping[int, Counted], ground: Ground, policy: Policy) -> Cursor:
    """A worker is left out until its candidate is warm: so its stable requests are not compared with other workers'."""
    open_marks = [mark for mark in cursor.marks if _warms(policy, mark)]
    slots = {slot for mark in open_marks for slot in counted.get(mark.epoch, Counted()).candidate}
    warmth = dict(cursor.warmth)
    for slot in sorted(slots):
        seen = {mark.epoch: counted[mark.epoch] for mark in open_marks if mark.epoch in counted}
        done = sum(epoch.candidate.get(slot, Arm()).done for epoch in seen.values())
        known = warmth.get(str(slot))
        if done and (known is None or known.since > ground.now):
            known = warmth[str(slot)] = Warmth(ground.now, None if known is None else known.left_out)
        if known is None or known.left_out is not None:
            continue
        old_enough = ground.now - known.since >= policy.warmup_seconds
        if old_enough and done >= policy.warmup_requests:
            left_out = {str(epoch): _slot_arms(found, slot) for epoch, found in seen.items()}
            warmth[str(slot)] = replace(known, left_out=left_out)
    running = {str(mark.epoch) for mark in cursor.marks}
    warmth = {slot: _trimmed(told, running) for slot, told in warmth.items()}
    return cursor if warmth == cursor.warmth else replace(cursor, warmth=warmth)


def _trimmed(warmth: Warmth, running: set[str]) -> Warmth:
    """Without epochs that nobody looks at any more."""
    if warmth.left_out is None or warmth.left_out.keys() <= running:
        return warmth
    return replace(warmth, left_out={epoch: arms for epoch, arms in warmth.left_out.items() if epoch in running})
