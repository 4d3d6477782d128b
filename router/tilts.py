"""Family A for many contrasts at once: all that the checks of a rollout ask of one block. Pure; numpy only.

A block of live traffic is small, and a small sum costs what the calls of numpy cost. So the checks say what they ask
(`Ask`), and all of it is summed together: the ways to split the marks once a row, times powers of the alternatives that
many rows share.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Final

import numpy as np

from router.families import Floats, Marks, conditional_llr
from router.hypergeometric import log_weights

_REACH: Final = 640.0
"""Powers of the alternatives stay within exp(+-640), so that nothing but what is below rounding underflows."""
_FARTHEST: Final = 5.0
"""No shared alternative is farther from the margin."""
_MOST: Final = 1 << 15
"""So many terms at most are summed together; more are better sorted (`hypergeometric.log_sums`)."""


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """The log likelihood ratios of family A that are asked for, see `conditional_llr`. theta: [alternatives], shared by
    all rows; log_margins: [rows], NaN where it is not known: nothing is said there (0); design: [rows], one more
    alternative in front of the others, each row's own."""

    marks: Marks
    theta: Floats
    log_margins: Floats | None = None
    design: Floats | None = None

    @property
    def tilts(self) -> Floats:
        """All alternatives: [alternatives] or [rows, alternatives]."""
        if self.design is None:
            return self.theta
        shared = np.broadcast_to(self.theta, (len(self.design), len(self.theta)))
        return np.concatenate([self.design[:, None], shared], axis=1)

    def __len__(self) -> int:
        return len(self.marks.candidate_n)

    def alone(self) -> Floats:
        """The answer, by itself."""
        if self.log_margins is None or not self.log_margins.any():
            return conditional_llr(self.marks, self.tilts)
        llr = conditional_llr(self.marks, self.tilts, np.nan_to_num(self.log_margins))
        llr[np.isnan(self.log_margins)] = 0.0
        return llr


def answer(asks: Sequence[Ask]) -> list[Floats]:
    """What is asked, each [rows, alternatives]; the same as `Ask.alone` gives, to rounding."""
    if len(asks) < 2:
        return [ask.alone() for ask in asks]
    order = sorted(range(len(asks)), key=lambda place: id(asks[place].theta))
    rows = _Rows.of([asks[place] for place in order])
    widest = float(np.maximum.reduce(rows.supports))
    if _is_far(widest, rows.design) or (1.0 + widest) * len(rows.supports) > _MOST:
        return _apart(asks)
    return [found for _, found in sorted(zip(order, rows.answers(), strict=True), key=itemgetter(0))]


def _apart(asks: Sequence[Ask]) -> list[Floats]:
    """Wide sums each by itself, the others together."""
    widest = (float(_supports(*ask.marks.totals).max()) for ask in asks)
    wide = [_is_far(support, ask.design) for ask, support in zip(asks, widest, strict=True)]
    small = [ask for ask, is_wide in zip(asks, wide, strict=True) if not is_wide]
    if len(small) in (1, len(asks)):
        return [ask.alone() for ask in asks]
    found = iter(answer(small))
    return [ask.alone() if is_wide else next(found) for ask, is_wide in zip(asks, wide, strict=True)]


def _supports(n_c: Floats, n_s: Floats, marked: Floats) -> Floats:
    """How many ways there are to split the marks of each row, less one."""
    widths: Floats = np.minimum(marked, n_c) - np.maximum(0.0, marked - n_s)
    return widths


def _is_far(support: float, design: Floats | None) -> bool:
    return support * max(_FARTHEST, 0.0 if design is None else float(np.abs(design).max())) > _REACH


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The rows of several asks behind one another, those that share alternatives side by side."""

    asks: Sequence[Ask]
    counts: tuple[Floats, Floats, Floats]
    candidate_k: Floats
    supports: Floats
    design: Floats

    @classmethod
    def of(cls, asks: Sequence[Ask]) -> "_Rows":
        marks = [ask.marks for ask in asks]
        n_c, n_s = np.concatenate([of.candidate_n for of in marks]), np.concatenate([of.control_n for of in marks])
        k_c, k_s = np.concatenate([of.candidate_k for of in marks]), np.concatenate([of.control_k for of in marks])
        counts = n_c, n_s, k_c + k_s
        return cls(asks, counts, k_c, _supports(*counts), _column(asks, "design"))

    def answers(self) -> Iterator[Floats]:
        """One for each ask."""
        first, logs = log_weights(self.counts)
        terms, margins = np.arange(logs.shape[1], dtype=np.float64), _column(self.asks, "log_margins")
        unknown = np.isnan(margins)
        logs += np.where(unknown, 0.0, margins)[:, None] * terms
        weights = np.exp(logs - np.maximum.reduce(logs, axis=1, keepdims=True))
        weights /= np.add.reduce(weights, axis=1, keepdims=True)
        beyond, design, end = (self.candidate_k - first)[:, None], self.design[:, None], 0
        for _, group in groupby(self.asks, key=lambda ask: id(ask.theta)):
            members = list(group)
            begin, end = end, end + sum(map(len, members))
            rows, theta = slice(begin, end), members[0].theta
            llr = np.empty((end - begin, 1 + len(theta)))
            llr[:, 0] = np.log(np.add.reduce(weights[rows] * np.exp(design[rows] * terms), axis=1))
            llr[:, 1:] = np.log(weights[rows] @ _powers(theta.tobytes(), -(-len(terms) // 16) * 16)[: len(terms)])
            np.subtract(beyond[rows] * design[rows], llr[:, :1], out=llr[:, :1])
            np.subtract(beyond[rows] * theta, llr[:, 1:], out=llr[:, 1:])
            llr[unknown[rows]] = 0.0
            for ask in members:
                yield llr[: len(ask), 0 if ask.design is not None else 1 :]
                llr = llr[len(ask) :]


def _column(asks: Sequence[Ask], name: str) -> Floats:
    """What each ask says of its rows; 0 where it says nothing."""
    parts = [getattr(ask, name) for ask in asks]
    return np.concatenate([np.zeros(len(ask)) if part is None else part for ask, part in zip(asks, parts, strict=True)])


@lru_cache(maxsize=64)
def _powers(theta: bytes, terms: int) -> Floats:
    """exp(theta k) for k = 0, 1, ...: [terms, alternatives]."""
    return np.exp(np.arange(terms)[:, None] * np.frombuffer(theta))
