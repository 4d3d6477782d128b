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
WATCH_ROWS: Final = 1_000_000_000
"""Lines of the watch after promotion are numbered from here on (router/replay.py, which needs numpy)."""


def log_of(client: AdminClient, identity: str) -> Document:
    """The whole log up to what was recorded when it was first asked for."""
    first = client.rollout_blocks(identity, 0, PAGE)
    rows, page, recorded = list(first["rows"]), first, first["recorded"]
    while len(page["rows"]) == PAGE:
        page = client.rollout_blocks(identity, page["next_after"], PAGE)
        rows += page["rows"]
    gathered, watched = (recorded.get(name, {}).get("rows", 0) for name in ("evidence", "watch"))
    kept = [row for row in rows if row["number"] <= gathered or WATCH_ROWS < row["number"] <= WATCH_ROWS + watched]
    return {**{name: first[name] for name in ("policy", "steps", "recorded")}, "rows": kept}


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
