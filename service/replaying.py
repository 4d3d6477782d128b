"""Reads a rollout's log of blocks again and says whether it gives what was recorded: `python -m service.replaying`.

A process of its own, so that neither the command line nor the controller computes for it. One JSON document comes on
standard input: {"rollout": id, "policy": ..., "steps": ..., "recorded": ..., "rows": [...]}; one goes out.
"""

import sys
from typing import Any

import msgspec

from router.decoding import decoder
from router.errors import InvalidArgument
from router.policy import Policy
from router.replay import Replayed, replay
from router.strategies import Step


class Job(msgspec.Struct, frozen=True):
    """What is to be read again."""

    policy: Policy
    steps: tuple[Step, ...]
    recorded: dict[str, Any]
    rows: list[dict[str, Any]]


def main() -> None:
    """Exit code 0 when the log gives the same, 1 when it does not."""
    found = replayed(sys.stdin.buffer.read())
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
    sys.exit(1 if found.differs else 0)


def replayed(text: bytes) -> Replayed:
    """What the log gives; what cannot be read differs."""
    try:
        job = decoder(Job).decode(text)
        return replay(job.policy, job.steps, job.recorded, job.rows)
    except (msgspec.MsgspecError, InvalidArgument) as error:
        return Replayed(0, 0, "", "", f"the log cannot be read: {error}")


if __name__ == "__main__":
    main()
