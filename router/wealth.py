"""E-processes: what a bettor against "no difference" would own, starting from 1. Pure; numpy only.

A mixture over alternatives with cash and fixed share: half of the start stays in cash, and after each block one part
in a thousand is spread anew, so that faults that begin late are found (Herbster & Warmuth 1998). By Ville's inequality
the wealth reaches 1/alpha with probability at most alpha under the null, at any of any number of looks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from router.families import Floats
from router.packing import packed, unpacked

Name = TypeVar("Name")

CASH = 0.5
FIXED_SHARE = 1e-3


@cache
def even_prior(alternatives: int) -> Floats:
    """Cash first, the rest evenly on the alternatives. Shape [1 + alternatives], sum 1; not to be written to."""
    return _fixed(np.concatenate([[CASH], np.full(alternatives, (1.0 - CASH) / alternatives)]))


@cache
def design_prior(alternatives: int) -> Floats:
    """For non-inferiority: cash, half of the rest on the first alternative ("no difference"), half on the others."""
    rest = 1.0 - CASH
    return _fixed(np.concatenate([[CASH, rest / 2.0], np.full(alternatives - 1, rest / 2.0 / (alternatives - 1))]))


def _fixed(numbers: Floats) -> Floats:
    numbers.flags.writeable = False
    return numbers


@dataclass(frozen=True, slots=True, eq=False)
class EProcess:
    """Wealth of several bettors, one a row. log_e: [rows], nats; peak: the highest log_e so far (at least 0);
    weights: [rows, 1 + alternatives], how the wealth is spread, cash first."""

    log_e: Floats
    peak: Floats
    weights: Floats

    @classmethod
    def start(cls, rows: int, prior: Floats) -> "EProcess":
        return cls(np.zeros(rows), np.zeros(rows), np.tile(prior, (rows, 1)))

    def peak_after(self, path: Floats) -> Floats:
        """The highest log_e so far, when `path` [blocks, rows] follows."""
        peak: Floats = np.maximum(self.peak, np.maximum.reduce(path, axis=0))
        return peak

    def update(self, llr: Floats, prior: Floats) -> "EProcess":
        """After one block with log likelihood ratios llr [rows, alternatives]. `prior` is where fixed share goes."""
        return play({"": Bet(self, llr[None], prior)})[""].process

    def to_json(self) -> dict[str, Any]:
        return {"log_e": self.log_e.tolist(), "peak": self.peak.tolist(), "weights": packed(self.weights)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "EProcess":
        return cls(*(unpacked(content[name]) for name in ("log_e", "peak", "weights")))


@dataclass(frozen=True, slots=True, eq=False)
class Bet:
    """A process and what a run of blocks means to it. llr: [blocks, rows, alternatives]."""

    process: EProcess
    llr: Floats
    prior: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """The process after the run; path: log_e after each block, [blocks, rows]."""

    process: EProcess
    path: Floats


def play(bets: Mapping[Name, Bet]) -> dict[Name, Played]:
    """All bets on one run of blocks, block after block. The rows of all of them move together, padded to the width of
    the widest: a block costs the same few array operations whatever the number of processes."""
    ends = list(accumulate(bet.llr.shape[1] for bet in bets.values()))
    places = [slice(end - bet.llr.shape[1], end) for end, bet in zip(ends, bets.values(), strict=True)]
    width = 1 + max(bet.llr.shape[2] for bet in bets.values())
    blocks = len(next(iter(bets.values())).llr)
    logs = np.full((blocks, ends[-1], width), -np.inf)
    logs[:, :, 0] = 0.0
    weights, shared = np.zeros((2, ends[-1], width))
    for rows, bet in zip(places, bets.values(), strict=True):
        logs[:, rows, 1 : len(bet.prior)] = bet.llr
        weights[rows, : len(bet.prior)] = bet.process.weights
        shared[rows, : len(bet.prior)] = bet.prior
    starts = np.concatenate([bet.process.log_e for bet in bets.values()])
    peaks = np.concatenate([bet.process.peak for bet in bets.values()])
    tops = np.maximum.reduce(logs, axis=2)
    weights, totals = _spread(weights, np.exp(logs - tops[:, :, None]), FIXED_SHARE * shared)
    path = np.add.accumulate(np.concatenate([starts[None], tops + np.log(totals)]))[1:]
    peaks, last = np.maximum(peaks, np.maximum.reduce(path, axis=0)), path[-1]
    return {
        name: Played(EProcess(last[rows], peaks[rows], weights[rows, : len(bet.prior)]), path[:, rows])
        for (name, bet), rows in zip(bets.items(), places, strict=True)
    }


def _spread(weights: Floats, factors: Floats, shared: Floats) -> tuple[Floats, Floats]:
    """How the wealth is spread after all blocks, and by how much each block multiplied it: [blocks, rows]."""
    totals = np.empty(factors.shape[:2])
    for factor, total in zip(factors, totals, strict=True):
        won = weights * factor
        np.add.reduce(won, axis=1, out=total)
        won *= ((1.0 - FIXED_SHARE) / total)[:, None]
        weights = won + shared
    return weights, totals


@dataclass(frozen=True, slots=True, eq=False)
class EDetector:
    """Shiryaev-Roberts e-detectors for a change that comes some day (Shin, Ramdas & Rinaldo 2024), one a row:
    M_t = (M_{t-1} + 1) exp(llr_t) for each alternative, averaged. `log_m1`: log(M + 1), [rows, alternatives]."""

    log_m1: Floats
    log_m: Floats

    @classmethod
    def start(cls, rows: int, alternatives: int) -> "EDetector":
        return cls(np.zeros((rows, alternatives)), np.full(rows, -700.0))

    def update(self, llr: Floats) -> "EDetector":
        """After one block. `log_m`: log of the average, [rows]. M_t - t is a supermartingale under the null: alarm at
        M >= horizon / alpha is false with probability at most alpha within `horizon` blocks (Doob), and the average run
        to a false alarm is at least horizon / alpha blocks."""
        logs = self.log_m1 + llr
        return EDetector(np.logaddexp(0.0, logs), log_mean_exp(logs))

    def to_json(self) -> dict[str, Any]:
        return {"log_m1": self.log_m1.tolist(), "log_m": self.log_m.tolist()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "EDetector":
        return cls(*(np.asarray(content[name], dtype=np.float64) for name in ("log_m1", "log_m")))


def log_mean_exp(logs: Floats) -> Floats:
    """log of the mean of exp over the last axis: how e-values of one family are merged (Vovk & Wang 2021)."""
    if logs.shape[-1] == 1:
        return logs[..., 0]
    top = np.maximum.reduce(logs, axis=-1)
    mean: Floats = top + np.log(np.add.reduce(np.exp(logs - top[..., None]), axis=-1) / logs.shape[-1])
    return mean


def merge(log_es: Sequence[float], weights: Sequence[float]) -> float:
    """log of the weighted mean of e-values, valid under any dependence; weights are normed to 1. 0 for none."""
    total = sum(weights)
    terms = [log_e + math.log(weight / total) for log_e, weight in zip(log_es, weights, strict=True) if weight > 0]
    top = max(terms, default=0.0)
    return top + math.log(sum(math.exp(term - top) for term in terms)) if terms else 0.0


def merge_paths(paths: Floats, weights: Sequence[float]) -> tuple[Floats, NDArray[np.int64]]:
    """`merge` after each block, [blocks], and which of the e-values had the largest part. paths: [e-values, blocks]."""
    parts = paths + np.log(weights)[:, None]
    top: Floats = np.maximum.reduce(parts)
    merged: Floats = top + np.log(np.add.reduce(np.exp(parts - top)) / sum(weights))
    return merged, parts.argmax(axis=0)
