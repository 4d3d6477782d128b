"""The steps of the tour, in the order in which they are taken. Each does one thing and claims what can be checked."""

import math
import time
from collections.abc import Mapping
from typing import Any

from loadtests.tour import traffic
from loadtests.tour.guide import MODEL, Tour
from loadtests.tour.scrape import Scrape
from loadtests.tour.screen import percent, picture
from loadtests.tour.show import Show, check_of, evidence_table, until

ROLLOUT_SECONDS = 100.0
"""Longer than any rollout here takes on a slow machine; then the tour gives up."""
SHOWN = math.log(20.0)
HARMFUL = math.log(100.0)
UNSEEN_SECONDS = 6.0

DOCUMENT = """\
model: digits
to: {to}
strategy: steps
steps: [{{weight: 10, pause: 3s, requests: 50}}, {{weight: 50, pause: 3s, requests: 100}}]
analysis:
  warmup: {{seconds: 1s, requests: 5}}
  metrics:
    errors: {{action: abort, safe: {{ratio: 2, or_below: 0.02}}}}
    latency: {{action: report, required: false}}  # here two models share a machine with their callers
    reward: {{action: abort, safe: {{ratio: 0.95}}, required: true}}
    score: false
"""


def ask_one(tour: Tour) -> None:
    """One digit, one answer, and who gave it."""
    screen, row = tour.screen, tour.rows.given.rows[0]
    screen.step("One digit that no version has seen before")
    for line in picture(row):
        screen.console.print(f"      {line}", markup=False)
    [answer] = traffic.send(tour.server, MODEL, tour.rows, ["someone"])
    tour.crowd.tally.answers[answer.version] += 1
    screen.say(
        f"POST /v2/models/{MODEL}/infer: it is a [bold]{answer.label}[/]. "
        f"The header Serin-Version says who answered: [bold]{answer.version}[/]."
    )
    screen.claim(
        "Of three versions, the one that model.toml names answers, and rightly",
        answer.version == 1 and answer.label == answer.truth,
        answer.refusal or f"version {answer.version}; it is a {answer.truth}",
    )


def open_the_doors(tour: Tour) -> None:
    """Callers come, and labels with them."""
    tour.screen.step("Callers come: held-out digits, and a little later what each of them was")
    tour.crowd.start()
    with tour.screen.waiting("the first requests"):
        tour.crowd.whole_round()
        tour.crowd.whole_round()
    tally = tour.crowd.tally
    tour.screen.say(
        f"{tally.answers[1]:,} answers of version 1 so far, {percent(tally.accuracy(1))} right. Each answer carries a "
        "signed Serin-Assignment; a label that comes back with it counts for the version that answered."
    )
    tour.screen.claim("Labels are taken back", tally.labels > 0 and not tally.labels_refused, told_labels(tour))


def promote_a_good_one(tour: Tour) -> None:
    """Version 2, from 10 % to everything, by evidence alone."""
    screen, tally = tour.screen, tour.crowd.tally
    screen.step("Version 2 comes: 10 %, then 50 %, then all, and each only after it was shown to be safe")
    show = _apply(tour, 2)
    found = until(tour.rollout, lambda seen: seen["phase"] in ("window", "promoted", "aborted"), show, ROLLOUT_SECONDS)
    seconds = show.seconds
    screen.console.print()
    screen.say("What decided. Harm and safety are bets at fair odds: harm at 100 : 1 aborts, safety at 20 : 1 goes on.")
    screen.show(evidence_table("", found))
    errors, reward = check_of(found, "errors"), check_of(found, "reward")
    safe = [check["safe"]["log_e"] for check in (errors, reward) if check]
    screen.claim(
        "Version 2 was promoted, through every step, and no person said a word",
        found["phase"] in ("window", "promoted") and found["actor"] == "serin" and show.weights[:2] == [10, 50],
        f"{' % → '.join(f'{weight:g}' for weight in show.weights)} % in {seconds:.0f} s",
    )
    screen.claim(
        "Not because nothing bad was seen: it was shown that errors and labels are within their margins",
        len(safe) == 2 and min(safe) >= SHOWN,
        f"errors {errors['safe']['odds']}, labels {reward['safe']['odds']}; 20 : 1 were needed" if safe else "nothing",
    )
    versions = tour.crowd.whole_round()
    screen.claim("All callers are with version 2 now", versions == (2,), f"versions {versions}")
    screen.claim(
        "The callers' own count agrees: version 2 is right more often",
        tally.accuracy(2) > tally.accuracy(1),
        f"{percent(tally.accuracy(2))} against {percent(tally.accuracy(1))}",
    )
    exposed = f"{errors['estimates'][0]['candidate']['requests']:,}" if errors else "?"
    tour.story.append(("version 2", "promoted", f"{seconds:.0f} s", exposed, percent(tally.accuracy(2))))


def abort_a_bad_one(tour: Tour) -> None:
    """Version 3, worse on purpose. Nothing fails; only labels can tell, and they come late."""
    screen, crowd = tour.screen, tour.crowd
    screen.step("Version 3 comes, exported without its scaler: quick, never fails, and is wrong more often")
    crowd.labels = False
    show = _apply(tour, 3)
    screen.say("The labels are late, as labels are:")
    early = until(tour.rollout, lambda seen: _is_over(seen) or _waited(seen), show, ROLLOUT_SECONDS)
    errors = check_of(early, "errors")
    screen.claim(
        "Without labels nothing is wrong with it, and yet it does not go on: silence promotes nobody",
        not _is_over(early) and early["step_number"] == 1 and errors.get("harm", {}).get("log_e", 1.0) < HARMFUL,
        f"{early['phase']} at 10 %; errors {_counted(errors)}",
    )
    screen.say("Now the labels come back:")
    crowd.labels, told_at = True, time.monotonic()
    found = until(tour.rollout, lambda seen: seen["phase"] in ("aborted", "window", "promoted"), show, ROLLOUT_SECONDS)
    after, reward = time.monotonic() - told_at, check_of(found, "reward")
    screen.console.print()
    screen.show(evidence_table("", found))
    harm = reward["harm"]["odds"] if reward else "nothing"
    screen.claim(
        "The labels alone took it back: no error, no person",
        found["phase"] == "aborted" and "reward" in found["reason"] and found["actor"] == "serin",
        f"evidence of harm {harm}, {after:.0f} s after the first label; wrong {_counted(reward)}",
    )
    versions = crowd.whole_round()
    screen.claim("From then on nobody is answered by version 3", versions == (2,), f"versions {versions}")
    exposed = f"{reward['estimates'][0]['candidate']['requests']:,}" if reward else "?"
    told = (f"{show.seconds:.0f} s", exposed, percent(crowd.tally.accuracy(3)))
    tour.story.append(("version 3", "aborted by labels" if found["phase"] == "aborted" else found["phase"], *told))


def prove_it(tour: Tour) -> None:
    """The decision again from its log, a token a second time, and the counts."""
    screen, crowd = tour.screen, tour.crowd
    screen.step("Can that be believed?")
    tour.command("rollout", "replay", MODEL)
    screen.claim(
        "Every verdict comes out again from the logged blocks, to the last digit", True, "serin rollout replay"
    )
    crowd.stop()
    crowd.check()
    before, page = crowd.tally.labels, Scrape.of(tour.server.http)
    again = tour.command("feedback", MODEL, "--assignment", crowd.last_token, "--label", "0",
                         shown=f"serin feedback {MODEL} --assignment … --label 0")  # fmt: skip
    counted = int(Scrape.of(tour.server.http).total("serin_feedback_total", model=MODEL))
    screen.claim("A label that is sent twice counts once", counted == before, again.strip().splitlines()[0])
    told = page.by("version", "serin_requests_total", model=MODEL, outcome="ok")
    screen.claim(
        "/metrics has every label, and every answer by the version that gave it",
        counted == before and {int(version): int(n) for version, n in told.items() if n} == dict(crowd.tally.answers),
        f"{before:,} labels, {crowd.tally.answers.total():,} answers",
    )
    screen.claim(
        "No request failed, through two rollouts and six changes of weights",
        crowd.tally.failed == 0,
        crowd.tally.refusal or f"{crowd.tally.answers.total():,} answers",
    )


def told_labels(tour: Tour) -> str:
    """How many, or why not."""
    return tour.crowd.tally.labels_refused or f"{tour.crowd.tally.labels:,} counted"


def _apply(tour: Tour, to: int) -> Show:
    document = DOCUMENT.format(to=to)
    file = tour.folder / f"version-{to}.yaml"
    file.write_text(document)
    if to == 2:
        for line in document.splitlines():
            tour.screen.console.print(f"      [dim]{line}[/]", highlight=False)
        tour.screen.console.print()
    tour.command("apply", "-f", str(file), shown=f"serin apply -f {file.name}", lines=1)
    return Show(tour.screen)


def _is_over(found: Mapping[str, Any]) -> bool:
    return found["phase"] in ("window", "promoted", "aborting", "aborted")


def _waited(found: Mapping[str, Any]) -> bool:
    """Whether it has had requests enough to look well, for a while."""
    errors = check_of(found, "errors")
    ready = bool(errors) and errors["requests"]["candidate"] >= 50
    return ready and float((found.get("step") or {}).get("spent_seconds", 0.0)) >= UNSEEN_SECONDS


def _counted(check: Any) -> str:
    estimates = check.get("estimates") if check else None
    if not estimates:
        return "not counted"
    ours, theirs = estimates[0]["candidate"], estimates[0]["stable"]
    return f"{ours['marked']:,} of {ours['requests']:,} against {theirs['marked']:,} of {theirs['requests']:,}"


STEPS = (ask_one, open_the_doors, promote_a_good_one, abort_a_bad_one, prove_it)
