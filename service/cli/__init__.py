"""The words a person types."""

import os
import sys
from collections.abc import Sequence

import click

from router.errors import Kind, SerinError
from service.cli import output
from service.cli.assign import assign
from service.cli.audit import audit
from service.cli.drift import drift
from service.cli.events import events
from service.cli.feedback import feedback
from service.cli.infer import infer
from service.cli.keys import key
from service.cli.models import models
from service.cli.ready import ready
from service.cli.rollouts import apply, rollout
from service.cli.routes import route
from service.cli.serve import serve, show_settings
from service.cli.simulate import simulate
from service.cli.status import status
from service.cli.tune import tune

REFUSED = 1
WRONG = 2
INTERRUPTED = 130

#: The caller's words cannot be right, or nobody answers: as for a usage error.
WRONG_KINDS = frozenset({Kind.INVALID_ARGUMENT, Kind.UNAVAILABLE})


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="serin", prog_name="serin", message="%(prog)s %(version)s")
def cli() -> None:
    """Serve versions of ONNX models, split live traffic among them, and see what each of them predicts.

    \b
    Start a gateway:            serin serve --models models
    See what is there:          serin models list
    Ask a model:                serin infer digits --csv rows.csv
    Publish a new version:      serin models push model.onnx --name digits
    Take it into service:       serin rollout start digits --to 2
    Give it 10 % by hand:       serin route set digits 1=90 2=10
    Follow what happens:        serin events --follow
    Try a policy before use:    serin simulate --spec rollout.yaml
    Make an API key:            serin key new --name ci --role operator

    Commands talk to the admin API of a running gateway, http://127.0.0.1:8002 unless told otherwise.
    All of them know --json (infer: --output json).
    Exit codes: 0 done, 1 refused by the gateway, 2 wrong usage, wrong setting, or no answer;
    of `rollout wait` and `rollout watch` also 3 aborted, 4 timed out; of `drift` also 3 something drifts.
    """


WORDS = (
    serve, infer, models, route, rollout, apply, simulate, assign, drift, events, audit, feedback, ready, status, key,
    tune,
    show_settings,
)  # fmt: skip

for command in WORDS:
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code; errors are one line each, never a traceback."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        code = cli.main(args=arguments, prog_name="serin", standalone_mode=False)
    except click.exceptions.Exit as left:
        return left.exit_code
    except click.ClickException as error:
        error.show()
        return WRONG
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except SerinError as error:
        output.complain(error.message)
        return WRONG if error.kind in WRONG_KINDS else REFUSED
    except BrokenPipeError:
        # Whoever read our output has gone, as in `serin events | head`; Python must not complain at its own end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0
