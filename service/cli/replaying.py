"""`serin rollout replay`: the log of a rollout's blocks, weighed again by a process that can compute."""

import json
import subprocess
import sys
from typing import Any, Final

from router.client import AdminClient
from router.errors import Internal

Document = dict[str, Any]
PAGE: Final = 500
MOST_SECONDS: Final = 600.0


def log_of(client: AdminClient, identity: str) -> Document:
    """The whole log up to what was recorded when it was first asked for."""
    first = client.rollout_blocks(identity, 0, PAGE)
    rows, page, most = list(first["rows"]), first, int(first["recorded"]["rows"])
    while len(page["rows"]) == PAGE and page["next_after"] < most:
        page = client.rollout_blocks(identity, page["next_after"], PAGE)
        rows += page["rows"]
    return {**{name: first[name] for name in ("policy", "steps", "recorded")}, "rows": rows[:most]}


def replay(job: Document) -> Document:
    """{rows, blocks, kind, reason, differs}; `differs` is empty when it gives the same."""
    command = [sys.executable, "-m", "service.replaying"]
    text = json.dumps(job).encode()
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, check=False, timeout=MOST_SECONDS)
    try:
        return dict(json.loads(done.stdout))
    except ValueError as error:
        raise Internal(f"the replay ended with exit code {done.returncode} and said nothing") from error


def told(identity: str, found: Document) -> str:
    """One sentence."""
    if found["differs"]:
        return f"{identity}: the log does not give what was recorded: {found['differs']}"
    weighed = f"{found['blocks']:,} blocks in {found['rows']:,} lines give the same again"
    return f"{identity}: {weighed}: {found['kind'].replace('_', ' ')} - {found['reason']}"
