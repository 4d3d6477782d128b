"""What the fork server has done before a copy is wanted."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
from unittest.mock import MagicMock
from service import forkserver
from service.supervisor import MODULES, imports
forkserver.load(imports(MODULES, grpc=True))
from service.rest import create_rest
before = set(sys.modules)
create_rest(MagicMock(), MagicMock())
print(*sorted(set(sys.modules) - before))
"""


def test_nothing_is_imported_any_more_when_the_public_port_is_made() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
