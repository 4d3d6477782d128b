"""The words that move a rollout: promote, pause, resume, abort, approve, reject, retry, rollback."""

from collections.abc import Callable
from typing import Any, Final

import click

from service.cli import options, output, rollout_text

Document = dict[str, Any]


@click.command("promote")
@click.argument("model")
@click.option("--step", is_flag=True, help="Only to the next step.")
@click.option("--to", default="", metavar="CANDIDATE", help="Which one, where there are several.")
@click.option("--reason", default="", help="Why; recorded in the history.")
@options.gateway
def promote(asked: options.Asked, model: str, step: bool, to: str, reason: str) -> None:
    """Give the candidate of MODEL all traffic now, or with --step go on to the next step."""
    more: Document = {**({"step": True} if step else {}), **({"to": to} if to else {})}
    with asked.connect() as client:
        answered(client.move_rollout(model, "promote", reason, **more), asked.as_json)


def answered(answer: Document, as_json: bool) -> None:
    """Prints what a command came to."""
    if as_json:
        output.emit(answer)
        return
    output.say(f"{rollout_text.headline(answer)} (applied by {answer['applied']} of {answer['workers']} workers)")
    if answer["next"]:
        output.say(f"next: {answer['next']}")


def _move(word: str, caption: str) -> click.Command:
    def called(asked: options.Asked, model: str, reason: str) -> None:
        with asked.connect() as client:
            answered(client.move_rollout(model, word, reason), asked.as_json)

    called.__doc__ = caption
    command: Callable[..., Any] = options.gateway(called)
    command = click.option("--reason", default="", help="Why; recorded in the history.")(command)
    return click.command(word)(click.argument("model")(command))


MOVES: Final[tuple[click.Command, ...]] = (
    promote,
    _move("pause", "Stop the clock of the step and keep the weights; checks can still abort it."),
    _move("resume", "Let a paused rollout of MODEL go on."),
    _move("abort", "Send all traffic of MODEL back to stable; done in every worker when it returns."),
    _move("approve", "Let the step that asks for an approval pass, or accept a shift that holds it."),
    _move("reject", "Refuse the step that asks for an approval, and abort."),
    _move("retry", "Begin the rollout of MODEL that was aborted or rolled back anew."),
    _move("rollback", "Return to the version before, within the rollback window."),
)
