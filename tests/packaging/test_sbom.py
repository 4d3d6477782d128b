"""The SBOM holds what the lock pins, in the format that it says, and nothing of where it was installed from."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.packaging.sbom import LOCK, PROJECT, document, locked

PINNED = """# made by a tool
plain==1.0 \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
marked==2.0.post1 ; sys_platform != 'win32' \\
    --hash=sha256:{b}
""".format(a="a" * 64, b="b" * 64)
ADDRESS = re.compile(r"https?://(?!cyclonedx\.org/schema/)")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file that the command writes."""
    file = tmp_path_factory.mktemp("sbom") / "sbom.json"
    done = subprocess.run([sys.executable, "-m", "tests.packaging.sbom", str(file)], cwd=LOCK.parent, timeout=60)
    assert done.returncode == 0
    return file.read_text()


@pytest.fixture(scope="module")
def told(written: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(written)
    return found


def test_it_keeps_to_the_schema_of_its_format(written: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written) is None


def test_it_has_what_the_lock_has_with_all_hashes(told: dict[str, Any]) -> None:
    pins = re.findall(r"^([\w.-]+)==(\S+)", LOCK.read_text(), re.M)
    assert [(one["name"], one["version"]) for one in told["components"]] == sorted(pins)
    hashes = [part["content"] for one in told["components"] for part in one["externalReferences"][0]["hashes"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:(\w{64})", LOCK.read_text()))


def test_serin_is_what_is_described_and_depends_on_all_of_it(told: dict[str, Any]) -> None:
    about = told["metadata"]["component"]
    assert (about["name"], about["licenses"]) == ("serin", [{"license": {"id": "Apache-2.0"}}])
    (parts,) = (one["dependsOn"] for one in told["dependencies"] if one["ref"] == about["bom-ref"])
    assert set(parts) == {one["bom-ref"] for one in told["components"]}


def test_no_address_of_a_registry_and_no_path_is_in_it(written: str) -> None:
    assert not ADDRESS.search(written)
    assert str(Path.home()) not in written
    assert str(LOCK.parent) not in written


def test_two_of_one_commit_are_equal_and_of_another_lock_differ(written: str) -> None:
    assert document(LOCK.read_text(), PROJECT.read_text()) == written
    other = json.loads(document(PINNED, PROJECT.read_text()))
    assert other["serialNumber"] != json.loads(written)["serialNumber"]


def test_a_line_of_a_lock_is_read_whole() -> None:
    plain, marked = locked(PINNED)
    assert (plain.name, plain.version, plain.marker, len(plain.hashes)) == ("plain", "1.0", "", 2)
    assert (marked.version, marked.marker, marked.hashes) == ("2.0.post1", "sys_platform != 'win32'", ("b" * 64,))


@pytest.mark.parametrize(
    "line", ["plain==1.0", "plain>=1.0 --hash=sha256:" + "a" * 64, "-e .", "plain==1.0 --hash=md5:" + "a" * 32]
)
def test_a_line_without_a_version_and_hashes_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a pinned version"):
        locked(line)
