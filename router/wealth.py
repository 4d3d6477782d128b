"""E-processes: what a bettor against "no difference" would own, starting from 1. Pure; numpy only.

A mixture over alternatives with cash and fixed share: half of the start stays in cash, and after each block one part
in a thousand is spread anew, so that faults that begin late are found (Herbster & Warmuth 1998). By Ville's inequality
the wealth reaches 1/alpha with probability at most alpha under the null, at any of any number of looks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from router.families import Floats

CASH = 0.5
FIXED_SHARE = 1e-3


def even_prior(alternatives: int) -> Floats:
    """Cash first, the rest evenly on the alternatives. Shape [1 + alternatives], sum 1."""
    return np.concatenate([[CASH], np.full(alternatives, (1.0 - CASH) / alternatives)])


def design_prior(alternatives: int) -> Floats:
    """For non-inferiority: cash, half of the rest on the first alternative ("no difference"), half on the others."""
    rest = 1.0 - CASH
    return np.concatenate([[CASH, rest / 2.0], np.full(alternatives - 1, rest / 2.0 / (alternatives - 1))])


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

    def update(self, llr: Floats, prior: Floats) -> "EProcess":
        """After one block with log likelihood ratios llr [rows, alternatives]. `prior` is where fixed share goes."""
        with np.errstate(divide="ignore"):
            logs = np.log(self.weights)
        logs[:, 1:] += llr
        top = logs.max(axis=1, keepdims=True)
        parts = np.exp(logs - top)
        total = parts.sum(axis=1, keepdims=True)
        log_e = self.log_e + (top + np.log(total))[:, 0]
        weights = (1.0 - FIXED_SHARE) * parts / total + FIXED_SHARE * prior
        return EProcess(log_e, np.maximum(self.peak, log_e), weights)

    def to_json(self) -> dict[str, Any]:
        return {"log_e": self.log_e.tolist(), "peak": self.peak.tolist(), "weights": self.weights.tolist()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "EProcess":
        return cls(*(np.asarray(content[name], dtype=np.float64) for name in ("log_e", "peak", "weights")))


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
    top = logs.max(axis=-1)
    mean: Floats = top + np.log(np.exp(logs - top[..., None]).mean(axis=-1))
    return mean


def merge(log_es: Sequence[float], weights: Sequence[float]) -> float:
    """log of the weighted mean of e-values, valid under any dependence; weights are normed to 1. 0 for none."""
    total = sum(weights)
    terms = [log_e + math.log(weight / total) for log_e, weight in zip(log_es, weights, strict=True) if weight > 0]
    top = max(terms, default=0.0)
    return top + math.log(sum(math.exp(term - top) for term in terms)) if terms else 0.0
