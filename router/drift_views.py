"""What is known of drift, as documents for the admin API and as values for the metrics page. Pure."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from router.drift_windows import Known, Policy, Watched, inputs_drifted
from router.input_match import ALPHA, Match
from router.metrics import Sample, label_text

Document = dict[str, Any]


def drift_document(model: str, watched: Watched, matches: Mapping[str, Match], policy: Policy) -> Document:
    """All that is known of one model."""
    return {
        "model": model,
        "window": {"requests": policy.requests, "seconds": policy.seconds},
        "inputs_drifted": inputs_drifted(watched),
        "subjects": [_subject(key, known) for key, known in watched.items()],
        "comparisons": [_comparison(match) for match in matches.values()],
    }


def drift_samples(watched: Mapping[str, Watched], matches: Mapping[str, Mapping[str, Match]]) -> Iterator[Sample]:
    """Of all models."""
    for model, subjects in watched.items():
        yield Sample("serin_drift_inputs_alarm", (model,), float(inputs_drifted(subjects)))
        for key, known in subjects.items():
            yield from _samples(model, key, known)
    for model, each in matches.items():
        for match in each.values():
            candidate = match.identity.rsplit(" ", 1)[1].rsplit(":", 1)[0]
            yield Sample("serin_inputs_differ", (model, label_text(candidate)), float(bool(match.differs)))


def _samples(model: str, key: str, known: Known) -> Iterator[Sample]:
    side, name = key.split("/", 1)
    labels = (model, side, label_text(name))
    yield Sample("serin_drift_alarm", labels, float(known.drifted))
    if known.reading is not None:
        found = known.reading.distances
        measures = {"psi": found.psi, "js": found.js, "wasserstein": found.wasserstein}
        for measure, value in measures.items():
            if value is not None:
                yield Sample("serin_drift_distance", (*labels, measure), value)
    for word in sorted({*known.bad, *known.bad_shares}):
        yield Sample("serin_data_quality_alarm", (*labels, word), float(word in known.bad))


def _subject(key: str, known: Known) -> Document:
    side, name = key.split("/", 1)
    reading = known.reading
    found = reading.distances if reading is not None else None
    return {
        "side": side,
        "name": name,
        "critical": known.critical,
        "state": state_of(known),
        "drifted": known.drifted,
        "against": reading.against if reading is not None else None,
        "requests": found.live if found is not None else 0,
        "reference": found.reference if found is not None else 0,
        "psi": _rounded(found.psi if found is not None else None),
        "js": _rounded(found.js if found is not None else None),
        "wasserstein": _rounded(found.wasserstein if found is not None else None),
        "share_change": _rounded(found.share_change if found is not None else None),
        "noise": _rounded(found.noise if found is not None else None),
        "open_requests": known.requests,
        "bad": {word: _rounded(share) for word, share in known.bad_shares.items()},
        "bad_alarms": list(known.bad),
    }


def state_of(known: Known) -> str:
    """A word: drifted, what the last window said, learning (the first window becomes the reference), or waiting."""
    if known.drifted:
        return "drifted"
    if known.reading is not None:
        return str(known.reading.level)
    return "learning" if known.learned else "waiting"


def _comparison(match: Match) -> Document:
    _, stable, candidate = match.identity.rsplit(" ", 2)
    return {
        "stable": stable,
        "candidate": candidate,
        "requests": match.requests,
        "evidence": round(math.exp(min(match.log_e, 700.0)), 3),
        "alarm_at": round(1.0 / ALPHA),
        "differs": match.differs,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
