"""What Serin is made of, as a CycloneDX 1.6 document: `python -m tests.packaging.sbom [FILE]`, or `make sbom`.

Each component is a line of requirements.lock, with the SHA-256 of every file that the lock lets pip take for it. Where
a file comes from is not said: that is the business of whoever installs, and the hashes hold wherever it comes from.
The document is a function of the lock and of pyproject.toml, so that two of one commit are equal.
"""

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
FILE = "sbom.cdx.json"
"""What the document is called, unless its name is given."""

_LINE = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+-]+)(?: *; *([^\\]+?))?((?: +--hash=sha256:[0-9a-f]{64})+)")


@dataclass(frozen=True, slots=True)
class Locked:
    """One line of a lock. `marker`: where it is installed; "": everywhere."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def locked(text: str) -> list[Locked]:
    """All lines of a lock. Raises ValueError for one that is no pinned version with hashes."""
    lines = (line.strip() for line in text.replace("\\\n", " ").splitlines())
    return [_locked(line) for line in lines if line and not line.startswith("#")]


def _locked(line: str) -> Locked:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"not a pinned version with hashes: {line[:80]}")
    name, version, marker, hashes = found.groups(default="")
    return Locked(name, version, marker.strip(), tuple(re.findall(r"sha256:(\w+)", hashes)))


def document(lock: str, project: str) -> str:
    """The JSON text, of the texts of requirements.lock and pyproject.toml."""
    about = tomllib.loads(project)["project"]
    serin = Component(
        name=about["name"],
        version=about["version"],
        description=about["description"],
        type=ComponentType.APPLICATION,
        licenses=[LicenseFactory().make_from_string(about["license"])],
        bom_ref="serin",
    )
    parts = [_component(one) for one in locked(lock)]
    bom = Bom(components=parts, serial_number=uuid5(NAMESPACE_OID, lock + project))
    bom.metadata.component = serin
    bom.metadata.timestamp = None  # type: ignore[assignment]  # optional in the format, and never twice the same
    bom.register_dependency(serin, parts)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _component(one: Locked) -> Component:
    purl = PackageURL("pypi", None, one.name, one.version)
    files = [HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in one.hashes]
    return Component(
        name=one.name,
        version=one.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=purl.to_string(),
        # The files of a version differ by platform, and CycloneDX keeps hashes of several in a reference to them.
        external_references=[
            ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(purl.to_string()), hashes=files)
        ],
        properties=[Property(name="serin:marker", value=one.marker)] if one.marker else (),
    )


def main() -> None:
    """Write the document."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / FILE
    target.write_text(document(LOCK.read_text(), PROJECT.read_text()))
    print(f"{target}: {len(locked(LOCK.read_text()))} components")


if __name__ == "__main__":
    main()
