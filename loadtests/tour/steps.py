"""The steps of the tour, in the order in which they are taken. Each does one thing and claims what can be checked."""

from itertools import pairwise

from loadtests.tour import traffic
from loadtests.tour.guide import MODEL, Tour
from loadtests.tour.scrape import Scrape, standout
from loadtests.tour.screen import percent, picture
from loadtests.tour.views import (
    SIGMAS,
    claim_predictions,
    claim_recomputed,
    claim_shares,
    favourite_mistake,
    mean_micros,
    predicted,
    show_classes,
    show_shares,
    show_versions,
)

FEW = 40
"""Users who are shown one by one; the others only in numbers."""


def ask_one(tour: Tour) -> None:
    """One digit, one answer, and who gave it."""
    screen, row = tour.screen, tour.rows.given.rows[0]
    screen.step("One digit that no version has seen before")
    for line in picture(row):
        screen.console.print(f"      {line}", markup=False)
    [answer] = traffic.send(tour.server, MODEL, tour.rows, tour.keys[:1])
    tour.note([answer])
    screen.say(
        f"POST /v2/models/{MODEL}/infer: it is a [bold]{answer.label}[/]. "
        f"The headers say who answered: Serin-Version [bold]{answer.version}[/], Serin-Revision {answer.revision}."
    )
    screen.claim(
        "Of three versions, the one that model.toml names answers, at once and rightly",
        answer.version == 1 and answer.label == answer.truth,
        answer.refusal or f"version {answer.version}; it is a {answer.truth}",
    )


def start_canary(tour: Tour) -> None:
    """10 % for version 2, and whether that is what it gets."""
    tour.screen.step("A canary: 10 % of the traffic for version 2")
    tour.route({1: 90, 2: 10}, "trying version 2")
    tour.send()
    rows = len(tour.rows.truth)
    tour.screen.say(f"{len(tour.keys):,} users send a digit each: every one of the {rows} held-out rows several times.")
    show_shares(tour)
    claim_shares(tour, "Version 2 gets its share, give or take chance")
    claim_recomputed(tour)


def ask_too_much(tour: Tour) -> None:
    """A version that is not there: refused, in words, and nothing has changed."""
    screen = tour.screen
    screen.step("A slip of the finger: version 22 instead of 2")
    tour.command("route", "set", MODEL, "1=50", "22=50", code=1)
    tour.send()
    screen.claim(
        "What cannot be served is refused, and the traffic does not notice",
        set(traffic.per_version(tour.answers)) == {1, 2} and {a.revision for a in tour.answers} == {tour.revision},
        f"{len(tour.answers):,} answers, still under revision {tour.revision}",
    )


def compare(tour: Tour) -> None:
    """Is version 2 better? The labels of the held-out rows know, and /metrics shows what was predicted."""
    screen, answers = tour.screen, tour.answers
    screen.step("Is version 2 better?")
    one, two = (traffic.accuracy(answers, version) for version in (1, 2))
    show_versions(tour)
    screen.claim(
        "On rows that nobody trained on, version 2 is right more often",
        two > one,
        f"{percent(two)} against {percent(one)}",
    )
    claim_predictions(tour)


def grow(tour: Tour) -> None:
    """10, 25, 50 %: who was with version 2 stays there."""
    screen = tour.screen
    screen.step("It grows: 25 %, then 50 %")
    seen = [traffic.placed(tour.answers, 2)]
    for weight in (25, 50):
        tour.route({1: 100 - weight, 2: weight}, f"version 2 looks well at {len(seen[-1]):,} users")
        tour.send()
        seen.append(traffic.placed(tour.answers, 2))
    screen.say(f"The first {FEW} users, and who answers them (█ version 2):")
    shown = [
        (f"{share} %", "".join("█" if key in group else "·" for key in tour.keys[:FEW]), f"{len(group):,}")
        for share, group in zip((10, 25, 50), seen, strict=True)
    ]
    screen.table(["weight", f"users 1 to {FEW}", "users of version 2"], shown)
    left = sum(len(before - after) for before, after in pairwise(seen))
    screen.claim(
        "Nobody who was with version 2 was sent back to version 1",
        left == 0,
        f"{' ⊂ '.join(f'{len(group):,}' for group in seen)} users",
    )
    claim_shares(tour, "At 50 % the shares are right again")


def let_a_bad_one_in(tour: Tour) -> None:
    """Version 3, worse on purpose, gets 20 %. Nothing fails, and yet /metrics shows it."""
    screen = tour.screen
    screen.step("Version 3 comes along, exported without its scaler: no error anywhere")
    before = {answer.key: answer.version for answer in tour.answers}
    tour.route({1: 40, 2: 40, 3: 20}, "somebody likes version 3")
    tour.send()
    moved = [answer.version for answer in tour.answers if answer.version != before[answer.key]]
    show_classes(tour)
    show_versions(tour)
    classes = {version: predicted(tour.grown, version) for version in (1, 2, 3)}
    two, three = (standout(classes[1], classes[version]) for version in (2, 3))
    screen.claim(
        "Without a single label, the predictions of version 3 stand out",
        abs(three.errors) > SIGMAS > abs(two.errors),
        f"digit {three.name}: {three.errors:+.1f} standard errors from version 1; version 2: {two.errors:+.1f} at most",
    )
    right = {version: traffic.accuracy(tour.answers, version) for version in (1, 2, 3)}
    worst = min((1, 2, 3), key=lambda version: right[version])
    screen.claim(
        "The labels agree: version 3 is the worst",
        worst == 3,
        f"{percent(right[3])} right; {favourite_mistake(tour.answers, 3)}",
    )
    screen.claim(
        "Users only moved to the version that is new",
        set(moved) == {3},
        f"{len(moved):,} of {len(tour.keys):,} users moved",
    )


def roll_back(tour: Tour) -> None:
    """All to version 1: when the command returns, it is so."""
    screen = tour.screen
    screen.step("Back to version 1")
    tour.route({1: 100}, "version 3 mistakes its digits")
    tour.send()
    others = len(tour.answers) - traffic.per_version(tour.answers)[1]
    screen.claim(
        "Weight 0 is exactly nothing, from the first request after the command",
        others == 0 and tour.outdated == 0,
        f"{others} of {len(tour.answers):,} to other versions",
    )
    tour.command("events", "--model", MODEL)


def look_back(tour: Tour) -> None:
    """What the whole tour came to."""
    screen, page = tour.screen, Scrape.of(tour.server.http)
    screen.step("What /metrics has counted, over all workers")
    outcomes = page.by("outcome", "serin_requests_total", model=MODEL)
    requests = page.by("version", "serin_requests_total", model=MODEL)
    rows = [(version, f"{count:,.0f}", f"{mean_micros(page, version):.0f} µs") for version, count in requests.items()]
    screen.table(["version", "requests", "mean time"], sorted(rows))
    failed = sum(count for outcome, count in outcomes.items() if outcome != "ok")
    screen.claim(
        "No request failed",
        failed == 0 and 0 not in tour.everything,
        tour.refusal or f"{sum(outcomes.values()):,.0f} requests",
    )
    told = {int(version): int(count) for version, count in requests.items()}
    screen.claim(
        "/metrics and the answers' headers agree to the last request",
        told == dict(tour.everything),
        f"{sum(told.values()):,} and {tour.everything.total():,}",
    )


STEPS = (ask_one, start_canary, compare, ask_too_much, grow, let_a_bad_one_in, roll_back, look_back)
