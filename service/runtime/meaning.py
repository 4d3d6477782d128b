"""What a version's numbers mean: labels, units and columns, from its own ONNX metadata, else from `model.toml`.

Keys of the metadata: `labels` (or `labels.<output>`) and `columns`, JSON lists of text; `units.<tensor>`, a text.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from service.protocol.tensors import Array, Signature
from service.runtime.manifest import Manifest

MAX_NAMES = 100
MAX_ANSWERS = 200
_CLASSES = ("class", "probabilities")


def meaning_of(manifest: Manifest, metadata: Mapping[str, str], signature: Signature) -> dict[str, Any]:
    """{"labels": {output: [...]}, "units": {tensor: text}, "columns": [...]}, without what nobody says."""
    outputs = [name for name, facts in manifest.outputs.items() if facts.kind in _CLASSES]
    outputs = [name for name in outputs if name in signature.output_names]
    labels = {name: _labels(name, manifest, metadata) for name in outputs}
    found = {
        "labels": {name: names for name, names in labels.items() if names},
        "units": _units(manifest, metadata, [*signature.inputs_by_name, *signature.output_names]),
        "columns": _names(metadata.get("columns")),
    }
    return {part: said for part, said in found.items() if said}


def answers_of(manifest: Manifest, names: Sequence[str], outputs: Sequence[Array]) -> dict[str, list[Any]]:
    """The class of each row, for outputs that `model.toml` calls class or probabilities."""
    found = {}
    for name, array in zip(names, outputs, strict=True):
        facts = manifest.outputs.get(name)
        if facts is not None and facts.kind in _CLASSES and array.size and array.ndim:
            found[name] = _classes(facts.kind == "class", array)
    return found


def _classes(is_class: bool, array: Array) -> list[Any]:
    rows = array.reshape(len(array), -1)[:MAX_ANSWERS]
    if is_class:
        return [value if isinstance(value, int | str) else str(value) for value in rows[:, 0].tolist()]
    if array.dtype.kind in "OSU":
        return []
    return [int(place) for place in np.argmax(rows, axis=1)]


def _labels(output: str, manifest: Manifest, metadata: Mapping[str, str]) -> list[str]:
    own = _names(metadata.get(f"labels.{output}")) or _names(metadata.get("labels"))
    return own or _short(manifest.outputs[output].labels or manifest.labels)


def _units(manifest: Manifest, metadata: Mapping[str, str], tensors: Sequence[str]) -> dict[str, str]:
    declared = {name: facts.units for part in (manifest.inputs, manifest.outputs) for name, facts in part.items()}
    units = {name: metadata.get(f"units.{name}") or declared.get(name, "") for name in tensors}
    return {name: text[:200] for name, text in units.items() if text}


def _names(text: str | None) -> list[str]:
    """A JSON list of texts or numbers; what is none says nothing."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return _short([str(item) for item in found]) if isinstance(found, list) else []


def _short(names: Sequence[str]) -> list[str]:
    """Long lists are cut, and end with what tells them apart."""
    if len(names) <= MAX_NAMES:
        return [name[:200] for name in names]
    whole = sha256("\0".join(names).encode("utf-8", "replace")).hexdigest()[:16]
    return [*(name[:200] for name in names[:MAX_NAMES]), f"and {len(names) - MAX_NAMES} more ({whole})"]
