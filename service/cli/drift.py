"""`serin drift`: how far live inputs and outputs lie from their reference."""

from typing import Any

import click

from service.cli import options, output

Document = dict[str, Any]

HEADINGS = ["SUBJECT", ">REQUESTS", ">PSI", ">JS", ">W/SD", ">NOISE", "STATE", "BAD VALUES"]


@click.command()
@click.argument("model")
@options.gateway
def drift(asked: options.Asked, model: str) -> None:
    """Show whether a model's inputs and outputs still look like its reference.

    \b
    PSI, JS, W/SD  distances of the last full window: population stability index, Jensen-Shannon, Wasserstein in sd
    NOISE          the PSI that chance alone stays below
    STATE          ok, warn, alarm (of one window), drifted (of two in a row), learning or waiting (no window yet)

    Exit code 3 when something drifts, is spoiled, or versions get different inputs.
    """
    with asked.connect() as client:
        found = client.drift(model)
    if asked.as_json:
        output.emit(found)
    else:
        window = found["window"]
        empty = f"Nothing is watched of {model} yet; docs/how-to/watch-for-drift.md says how to declare features."
        output.table(HEADINGS, [_row(subject) for subject in found["subjects"]], empty=empty)
        for line in _summary(found):
            output.say(line)
        if found["subjects"]:
            output.say(f"A window is at least {window['requests']} requests and {window['seconds']:g} s.")
    if alarmed(found):
        raise click.exceptions.Exit(3)


def alarmed(found: Document) -> bool:
    """Whether there is anything that a person should look at."""
    spoiled = any(subject["drifted"] or subject["bad_alarms"] for subject in found["subjects"])
    return spoiled or any(one["differs"] for one in found["comparisons"])


def _row(subject: Document) -> tuple[object, ...]:
    name = f"{subject['side']} {subject['name']}" + (" (critical)" if subject["critical"] else "")
    numbers = [_number(subject[measure]) for measure in ("psi", "js", "wasserstein", "noise")]
    return name, subject["requests"] or "", *numbers, subject["state"], _bad(subject)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _bad(subject: Document) -> str:
    marked = subject["bad_alarms"]
    shares = {**dict.fromkeys(marked, None), **subject["bad"]}
    return ", ".join(_bad_words(word, share, word in marked) for word, share in shares.items())


def _bad_words(word: str, share: float | None, marked: bool) -> str:
    percent = "" if share is None else f" {share * 100:.3g}%"
    return f"{word.replace('_', ' ')}{percent}{'!' if marked else ''}"


def _summary(found: Document) -> list[str]:
    lines = ["The inputs as a whole have drifted."] if found["inputs_drifted"] else []
    for one in found["comparisons"]:
        pair = f"{one['candidate']} and {one['stable']}"
        if one["differs"]:
            lines.append(f"{pair} do not get the same inputs (feature {one['differs']}): routing is broken.")
        else:
            lines.append(f"{pair} get the same inputs, as far as {one['requests']} requests tell.")
    return lines
