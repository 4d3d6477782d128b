"""Family A for many contrasts at once: all that the checks of a rollout ask of one block. Pure; numpy only.

A block of live traffic is small, and a small sum costs what the calls of numpy cost. So the checks say what they ask
(`Ask`), and all of it is summed together: the ways to split the marks once a row, times powers of the alternatives that
many rows share. A wide sum is cut into chunks, whose powers are the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from router.families import Floats, Marks, conditional_llr
from router.hypergeometric import log_weights

_CHUNK: Final = 128
"""So many terms are multiplied at a time: powers of alternatives up to _FARTHEST stay within exp(+-640) then, so that
nothing underflows but what is below rounding."""
_FARTHEST: Final = 5.0
_WIDEST: Final = 8192
"""Supports up to this are summed together; wider ones are cheaper on a circle."""
_MOST: Final = 1 << 17
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
    order = sorted(range(len(asks)), key=lambda place: id(asks[place].theta))
    rows = _Rows.of([asks[place] for place in order]) if asks else None
    if rows is None or rows.is_too_much:
        return _apart(asks)
    found: list[Floats | None] = [None] * len(asks)
    for place, llr in zip(order, rows.answers(), strict=True):
        found[place] = llr
    return [llr for llr in found if llr is not None]


def _apart(asks: Sequence[Ask]) -> list[Floats]:
    """Asks with wide sums each by themselves, the others together."""
    wide = [_Rows.of([ask]).is_too_much for ask in asks]
    small = [ask for ask, is_wide in zip(asks, wide, strict=True) if not is_wide]
    if len(small) == len(asks):
        return [ask.alone() for ask in asks]
    found = iter(answer(small))
    return [ask.alone() if is_wide else next(found) for ask, is_wide in zip(asks, wide, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The rows of several asks behind one another, those that share alternatives side by side. supports: how many ways
    there are to split the marks of each row, less one."""

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
        m = k_c + k_s
        supports = np.minimum(m, n_c) - np.maximum(0.0, m - n_s)
        return cls(asks, (n_c, n_s, m), k_c, supports, _column(asks, "design"))

    @property
    def is_too_much(self) -> bool:
        """Whether some sum is too wide, or an alternative too far, or there are too many terms."""
        widest = float(np.maximum.reduce(self.supports))
        far = float(np.maximum.reduce(np.abs(self.design))) > _FARTHEST
        return far or widest > _WIDEST or float(np.add.reduce(self.supports)) + len(self.supports) > _MOST

    def answers(self) -> Iterator[Floats]:
        """One for each ask."""
        margins = _column(self.asks, "log_margins")
        unknown = np.isnan(margins)
        margins[unknown] = 0.0
        groups = [list(group) for _, group in groupby(self.asks, key=lambda ask: id(ask.theta))]
        ends = np.cumsum([sum(map(len, group)) for group in groups]).tolist()
        begins = [0, *ends[:-1]]
        found = [
            np.empty((end - begin, 1 + len(group[0].theta)))
            for begin, end, group in zip(begins, ends, groups, strict=True)
        ]
        for rows in self._alike():
            n_c, n_s, m = (count[rows] for count in self.counts)
            sums = _Sums.of((n_c, n_s, m), margins[rows])
            beyond, design = self.candidate_k[rows] - sums.first, self.design[rows]
            for begin, end, group, llr in zip(begins, ends, groups, found, strict=True):
                low, high = np.searchsorted(rows, (begin, end)).tolist()
                if low < high:
                    own = slice(low, high)
                    llr[rows[own] - begin] = sums.llr(own, beyond[own, None], group[0].theta, design[own, None])
        for begin, end, group, llr in zip(begins, ends, groups, found, strict=True):
            llr[unknown[begin:end]] = 0.0
            for ask in group:
                yield llr[: len(ask), 0 if ask.design is not None else 1 :]
                llr = llr[len(ask) :]

    def _alike(self) -> list[NDArray[np.int64]]:
        """Rows that are summed together: those of one chunk, of two, of up to four, ..."""
        chunks = np.ceil((self.supports + 1.0) / _CHUNK)
        if float(np.maximum.reduce(chunks)) <= 1.0:
            return [np.arange(len(chunks))]
        sizes = np.ceil(np.log2(chunks))
        return [np.flatnonzero(sizes == size) for size in np.unique(sizes)]


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """The ways to split the marks of some rows. first: the least k of each; weights: [rows, chunks, terms], at most 1
    in each chunk; tops: [rows, chunks], what they were divided by (log)."""

    first: Floats
    weights: Floats
    tops: Floats

    @classmethod
    def of(cls, counts: tuple[Floats, Floats, Floats], margins: Floats) -> "_Sums":
        first, logs = log_weights(counts)
        terms = logs.shape[1]
        if terms > _CHUNK:
            logs = np.pad(logs, ((0, 0), (0, -terms % _CHUNK)), constant_values=-np.inf)
        logs += margins[:, None] * np.arange(logs.shape[1])
        logs = logs.reshape(len(logs), -1, min(terms, _CHUNK))
        tops = np.maximum(np.maximum.reduce(logs, axis=2), -1e300)  # of a chunk behind the last too
        return cls(first, np.exp(logs - tops[:, :, None]), tops)

    def llr(self, rows: slice, beyond: Floats, theta: Floats, design: Floats) -> Floats:
        """[rows, 1 + alternatives]; the design first."""
        weights, tops = self.weights[rows], self.tops[rows]
        terms = weights.shape[2]
        own = np.add.reduce(weights * np.exp(design * np.arange(terms))[:, None], axis=2)
        powers = _powers(theta.tobytes(), -(-terms // 16) * 16)[:terms]
        sums = np.concatenate([np.add.reduce(weights, axis=2)[:, :, None], own[:, :, None], weights @ powers], axis=2)
        tilts = np.concatenate([design, np.broadcast_to(theta, (len(design), len(theta)))], axis=1)
        logs = np.log(sums[:, 0]) if weights.shape[1] == 1 else self._over_chunks(sums, tops, tilts)
        llr: Floats = beyond * tilts - (logs[:, 1:] - logs[:, :1])
        return llr

    @staticmethod
    def _over_chunks(sums: Floats, tops: Floats, tilts: Floats) -> Floats:
        starts = _CHUNK * np.arange(tops.shape[1])[:, None]
        shift = np.concatenate([np.zeros((len(tilts), 1)), tilts], axis=1)
        with np.errstate(divide="ignore"):
            logs = np.log(sums) + tops[:, :, None] + shift[:, None, :] * starts
        top = np.maximum.reduce(logs, axis=1)
        whole: Floats = top + np.log(np.add.reduce(np.exp(logs - top[:, None]), axis=1))
        return whole


def _column(asks: Sequence[Ask], name: str) -> Floats:
    """What each ask says of its rows; 0 where it says nothing."""
    parts = [getattr(ask, name) for ask in asks]
    return np.concatenate([np.zeros(len(ask)) if part is None else part for ask, part in zip(asks, parts, strict=True)])


@lru_cache(maxsize=64)
def _powers(theta: bytes, terms: int) -> Floats:
    """exp(theta k) for k = 0, 1, ...: [terms, alternatives]."""
    return np.exp(np.arange(terms)[:, None] * np.frombuffer(theta))
