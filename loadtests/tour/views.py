"""What the tour shows and claims in more than one place."""

from collections import Counter
from collections.abc import Sequence
from math import sqrt

from loadtests.tour import traffic
from loadtests.tour.guide import MODEL, Tour
from loadtests.tour.scrape import Scrape
from loadtests.tour.screen import bar, percent
from loadtests.tour.traffic import Answer
from router.routes import Route, Variant, percent_to_ppm
from router.split import choose

SIGMAS = 4.0


def show_shares(tour: Tour) -> None:
    """Wanted, by the headers of the answers, and by /metrics."""
    got, total = traffic.per_version(tour.answers), len(tour.answers)
    counted = tour.grown.by("version", "serin_assigned_total", model=MODEL)
    rows = [
        (f"version {version}", f"{weight:g} %", percent(got[version] / total), f"{counted.get(str(version), 0):,.0f}")
        for version, weight in tour.weights.items()
    ]
    tour.screen.table(["", "weight", "share by the answers' headers", "requests by /metrics"], rows)


def show_versions(tour: Tour) -> None:
    """How each version did on the labels, and how sure it was by /metrics."""
    got = traffic.per_version(tour.answers)
    rows = [
        (
            f"version {version}",
            f"{got[version]:,}",
            percent(traffic.accuracy(tour.answers, version)),
            percent(very_sure(tour.grown, version)),
        )
        for version in tour.weights
    ]
    tour.screen.table(["", "answers", "right, by the labels", "surer than version 1's upper tenth, by /metrics"], rows)


def show_classes(tour: Tour) -> None:
    """The share of each predicted class, by /metrics, version beside version."""
    shares = {version: _shares(predicted(tour.grown, version)) for version in tour.weights}
    full = max((share for one in shares.values() for share in one.values()), default=1.0)
    classes = sorted({name for one in shares.values() for name, share in one.items() if share})
    rows = [
        (name, *(percent(one.get(name, 0.0)) for one in shares.values()), bar(shares[max(shares)].get(name, 0.0), full))
        for name in classes
    ]
    tour.screen.say("What each version predicts, by serin_predictions_total (no label is needed for this):")
    tour.screen.table(["digit", *(f"version {version}" for version in shares), f"<version {max(shares)}"], rows)


def claim_shares(tour: Tour, text: str) -> None:
    """The split is right: binomially by the headers, and /metrics counts the same."""
    got, total = traffic.per_version(tour.answers), len(tour.answers)
    counted = {int(v): int(n) for v, n in tour.grown.by("version", "serin_assigned_total", model=MODEL).items() if n}
    wanted = tour.weights[2] / 100
    near = SIGMAS * sqrt(wanted * (1 - wanted) / total)
    share = got[2] / total
    tour.screen.claim(
        text,
        abs(share - wanted) <= near and counted == dict(got),
        f"{percent(share)} of {total:,}; by /metrics {percent(counted.get(2, 0) / total)}",
    )


def claim_recomputed(tour: Tour) -> None:
    """Anyone can tell who gets what: `serin assign` does the same for one key."""
    variants = tuple(Variant(str(v), v, percent_to_ppm(weight)) for v, weight in tour.weights.items())
    route = Route(MODEL, variants)
    wrong = [a for a in tour.answers if choose(route, a.key.encode(), 0.0).version != a.version]
    tour.screen.claim(
        "Each user's version is what anyone can recompute from the key alone",
        not wrong,
        f"{len(tour.answers) - len(wrong):,} of {len(tour.answers):,}",
    )


def claim_predictions(tour: Tour) -> None:
    """The distribution in /metrics is the one in the answers."""
    told = {version: Counter(str(a.label) for a in tour.answers if a.version == version) for version in tour.weights}
    seen = {version: {k: int(n) for k, n in predicted(tour.grown, version).items() if n} for version in tour.weights}
    same = all(seen[version] == dict(told[version]) for version in tour.weights)
    tour.screen.claim(
        "/metrics has counted every predicted digit of each version",
        same,
        f"{sum(sum(one.values()) for one in seen.values()):,} predictions",
    )


def predicted(page: Scrape, version: int) -> dict[str, float]:
    """Rows by predicted class."""
    return page.by("class", "serin_predictions_total", model=MODEL, version=str(version), output="label")


def very_sure(page: Scrape, version: int) -> float:
    """The share of rows whose top probability is above the last edge, which is the reference's upper tenth."""
    below = page.by("le", "serin_prediction_confidence_bucket", model=MODEL, version=str(version))
    everything = below.pop("+Inf", 0.0)
    last = max(below, key=float, default="")
    return 1 - below[last] / everything if everything and last else 0.0


def mean_micros(page: Scrape, version: str) -> float:
    """The mean time from assignment to result, in microseconds."""
    seconds, count = (
        page.total(f"serin_request_duration_seconds_{part}", model=MODEL, version=version) for part in ("sum", "count")
    )
    return seconds / count * 1e6 if count else 0.0


def favourite_mistake(answers: Sequence[Answer], version: int) -> str:
    """Which digit a version takes for which, most often."""
    wrong = Counter((a.truth, a.label) for a in answers if a.version == version and a.label != a.truth)
    if not wrong:
        return "no mistake"
    [((truth, label), times)] = wrong.most_common(1)
    return f"{times} times it read {truth} as {label}"


def _shares(counts: dict[str, float]) -> dict[str, float]:
    total = sum(counts.values()) or 1.0
    return {name: count / total for name, count in counts.items()}
