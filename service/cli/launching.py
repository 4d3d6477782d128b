"""The document of a rollout from a file and from flags: what a flag says goes before what the file says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from router.errors import InvalidArgument
from router.spec_text import LONGEST, read_document
from router.strategies import Strategy
from service.cli import steps

Document = dict[str, Any]

WAITS: Final = ("pause", "requests", "approval", "deadline")
_FLAGS: Final = (
    click.option("--to", multiple=True, metavar="VERSION", help="The candidate; repeat as 2=10 for fixed shares (ab)."),
    click.option("--from", "source", metavar="VERSION", help="Refuse if another version is stable now."),
    click.option(
        "--strategy", type=click.Choice([str(s) for s in Strategy if s is not Strategy.STEPS]), help="[canary]"
    ),
    click.option("--steps", metavar="LIST", help="Weights such as 1,5,25,50, or steps " + steps.STEPS_HELP + "."),
    click.option("--pause", metavar="TIME", help="At least this long at each step, such as 90s, 10m, 2h."),
    click.option("--requests", metavar="N", type=click.IntRange(0), help="At least so many on the candidate."),
    click.option("--approval/--no-approval", default=None, help="Wait for `approve` at each step."),
    click.option("--deadline", metavar="TIME", help="A step may take this long; then what on_deadline says."),
    click.option("--share", metavar="PERCENT", help="shadow, blue-green: this much is run on the candidate too."),
    click.option("--noise-floor", metavar="N", type=click.IntRange(0), help="shadow: first so many on stable itself."),
    click.option("--header", metavar="NAME[=VALUE]", help="cohort, blue-green: who gets the candidate."),
    click.option("--bake", metavar="TIME", help="blue-green: watched with all traffic before it is promoted."),
    click.option("--until", metavar="DATE", help="ab: when it ends, such as 2026-12-24T18:00:00Z."),
    click.option("--check", "checks", multiple=True, metavar="CHECK", help="Such as 'error_rate<=0.01'; repeatable."),
    click.option("--no-checks", is_flag=True, help="No checks at all: time and people alone move it."),
    click.option("--max-duration", metavar="TIME", help="After this it ends. [1d; ab 30d]"),
    click.option("--rollback-window", metavar="TIME", help="How long `rollback` is one command. [1h]"),
    click.option("--contract", type=click.Choice(["identical", "compatible", "breaking"]), help="[compatible]"),
)


def flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags that a document can be made of."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def read(file: str) -> Document:
    """The document in a file, or with `-` on standard input. Raises InvalidArgument that names the file."""
    try:
        with click.open_file(file, "rb") as opened:
            text = opened.read(LONGEST + 1)
    except OSError as error:
        raise InvalidArgument(f"{file}: cannot be read: {error.strerror or error.__class__.__name__}") from error
    try:
        found = read_document(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"{Path(file).name}: {error.message}") from error
    if not isinstance(found, dict):
        raise InvalidArgument(f"{file}: a rollout is an object such as {{model: digits, to: 2, strategy: canary}}")
    return found


def document(base: Document, given: Document) -> Document:
    """`base` with what the flags say. Raises InvalidArgument that names the flag."""
    if given["checks"] and given["no_checks"]:
        raise InvalidArgument("--check and --no-checks exclude each other")
    plain = {
        "to": steps.to(given["to"]) if given["to"] else None,
        "from": _version(given["source"]),
        "strategy": given["strategy"],
        "checks": [] if given["no_checks"] else steps.checks(given["checks"]) or None,
        "max_duration": given["max_duration"],
        "rollback_window": given["rollback_window"],
        "contract": given["contract"],
    }
    made = {**base, **{name: value for name, value in plain.items() if value is not None}}
    if "to" not in made:
        raise InvalidArgument("which version? Say --to VERSION, or `to` in a file")
    return _with_steps(made, given) if given["steps"] else _with_options(made, given)


def _with_steps(made: Document, given: Document) -> Document:
    wait = {name: given[name] for name in WAITS if given[name] is not None}
    listed = steps.steps(given["steps"], {})
    weights = steps.weights_alone(listed)
    named = given["strategy"]
    if weights is not None and 100 not in weights and named in (None, "canary"):
        return {**made, "strategy": "canary", "canary": {"weights": weights, **wait}}
    if named is not None and named != "canary":
        raise InvalidArgument(f"--steps: strategy {named} has steps of its own; leave one of the two out")
    other = [f"--{name}" for name in ("share", "noise_floor", "header", "bake", "until") if given[name] is not None]
    if other:
        raise InvalidArgument(f"{other[0].replace('_', '-')}: say it in --steps, {steps.STEPS_HELP}")
    waits = wait or {"pause": steps.DEFAULT_PAUSE}
    return {**made, "strategy": "steps", "steps": steps.steps(given["steps"], waits)}


def _with_options(made: Document, given: Document) -> Document:
    strategy = str(made.get("strategy", "steps" if "steps" in made else "canary"))
    shown = steps.header(given["header"]) if given["header"] is not None else {}
    share = {"shadow" if strategy == "blue-green" else "share": given["share"]} if given["share"] is not None else {}
    single = {name: given[name] for name in (*WAITS, "noise_floor", "bake", "until") if given[name] is not None}
    options = {**shown, **share, **single}
    if not options:
        return made
    if strategy not in ("canary", "blue-green", "ab", "shadow", "cohort"):
        flag = next((name for name in ("header", "share", *single) if given[name] is not None), "pause")
        raise InvalidArgument(f"--{flag.replace('_', '-')}: strategy {strategy} has no place for it")
    return {**made, strategy: {**made.get(strategy, {}), **options}}


def _version(text: str | None) -> int | str | None:
    return None if text is None else steps.to((text,))
