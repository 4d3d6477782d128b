"""May this version be served? Its first load, its golden rows and its timing, by the process that may die of it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from router.errors import FailedPrecondition, InvalidArgument, SerinError
from service.protocol.tensors import Signature, TensorSpec
from service.runtime import golden, repository
from service.runtime.company import Run, best_count, fit_rows
from service.runtime.manifest import Manifest, ManifestError, parse_manifest
from service.runtime.meaning import answers_of, meaning_of
from service.runtime.options import options_of
from service.runtime.patience import Patience, lacks_memory
from service.runtime.profile import Profile, warm_up
from service.runtime.repository import MANIFEST_FILE, MODEL_FILE, Refused
from service.runtime.session import RUNTIME_VERSION, Session, SessionOptions

CHECKS = 3
"""Part of every verdict's key: raise it when the checks change, and all versions are examined again."""

MAX_PROBLEMS = 5
RUN_SECONDS = 30.0
Clock = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about a content. `passed`: it can be served; `reason`: why not, or what is odd about it."""

    passed: bool
    reason: str = ""
    signature: dict[str, Any] | None = None
    golden: dict[str, Any] | None = None
    load_seconds: float | None = None
    run_seconds: float | None = None
    meaning: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What a model's own files say. `error`: why none of its versions can be used. `key` changes with any of it."""

    manifest: Manifest
    golden: bytes | None = None
    error: str | None = None
    key: str = ""


Examine = Callable[[str, int, Rules], Verdict]
"""(version directory, version, rules): `examine`, and what stands around it."""


def read_rules(models_dir: Path, model: str) -> Rules:
    """Read `model.toml` and the golden rows it names. Never raises for what is in them."""
    manifest = Manifest()
    try:
        content = repository.read_beside(models_dir, model, MANIFEST_FILE)
        manifest = parse_manifest(content)
        rows = _golden_rows(models_dir, model, manifest)
    except (ManifestError, Refused) as error:
        return Rules(manifest, error=str(error))
    whole = sha256(b"%d\0%b\0%b" % (CHECKS, content or b"", rows or b"")).hexdigest()
    return Rules(manifest, rows, key=f"{RUNTIME_VERSION} {whole[:16]}")


def examine(
    version_dir: str, version: int, rules: Rules, options: SessionOptions, run_seconds: float = RUN_SECONDS
) -> Verdict:
    """Load, run the golden rows, measure: all that a worker will do with it before its first request, and no run for
    longer than `run_seconds`. Blocks; may take the process with it. Raises nothing a file can cause."""
    begun = perf_counter_ns()
    try:
        session = Session(os.path.join(version_dir, MODEL_FILE), options_of(options, rules.manifest.runtime))
        loaded = perf_counter_ns()
        with Patience(session, run_seconds) as patience:
            found, notes = _run_golden(session, patience.run, version, rules)
            measured = _try_out(session, patience.run, version, rules)
    except SerinError as error:
        return Verdict(False, _about_memory(error.message))
    except MemoryError:
        return Verdict(False, "its first load needs more memory than it may use")
    signature = session.signature
    if session.note:
        notes.append(session.note)
    strangers = rules.manifest.strangers(set(signature.inputs_by_name), set(signature.output_names))
    if strangers:
        notes.append(f"model.toml speaks of what this version does not have: {', '.join(strangers[:MAX_PROBLEMS])}")
    return Verdict(
        passed=True,
        reason="; ".join(notes),
        signature=describe(signature),
        golden=found,
        load_seconds=(loaded - begun) / 1e9,
        run_seconds=measured.run_ns / 1e9 if measured.run_ns else None,
        meaning=meaning_of(rules.manifest, session.metadata, signature),
    )


def describe(signature: Signature) -> dict[str, Any]:
    """A signature as plain values: {"inputs": [{"name", "datatype", "shape"}], "outputs": [...]}."""
    return {
        part: [{"name": spec.name, "datatype": spec.datatype, "shape": _shape(spec)} for spec in specs]
        for part, specs in (("inputs", signature.inputs), ("outputs", signature.outputs))
    }


def _shape(spec: TensorSpec) -> list[int] | None:
    return None if spec.shape is None else list(spec.shape)


def _golden_rows(models_dir: Path, model: str, manifest: Manifest) -> bytes | None:
    if manifest.golden is None:
        return None
    rows = repository.read_beside(models_dir, model, manifest.golden.file)
    if rows is None:
        raise ManifestError(f"{MANIFEST_FILE}: golden.file: there is no {manifest.golden.file}")
    return rows


def _try_out(session: Session, run: Run, version: int, rules: Rules) -> Profile:
    """Run it as workers do when they load it: on golden and blank rows, and on any rows alone and together."""
    feeds = [case.feeds for case in golden.parse_golden(rules.golden, version)] if rules.golden else []
    measured = warm_up(run, session.signature, feeds, perf_counter_ns)
    if rules.manifest.execution.max_batch_rows != 1 and (rows := fit_rows(run, session.signature, feeds)):
        best_count(run, rows[0], perf_counter_ns)
    return measured


def _run_golden(session: Session, run: Run, version: int, rules: Rules) -> tuple[dict[str, Any] | None, list[str]]:
    """What the golden rows gave, and what is odd. Raises FailedPrecondition when an answer is not as expected."""
    if rules.golden is None:
        return None, []
    names = [spec.name for spec in session.signature.outputs]
    cases = golden.parse_golden(rules.golden, version)
    odd: dict[str, None] = {}
    answers: dict[str, list[Any]] = {}
    for index, case in enumerate(cases):
        try:
            outputs = run(case.feeds)
        except InvalidArgument as error:
            if case.expected:
                raise FailedPrecondition(f"golden rows of version {version}: case {index}: {error.message}") from error
            return {"cases": len(cases), "applicable": False}, ["the golden rows do not fit its inputs"]
        if problems := golden.differences(case, names, outputs):
            told = "; ".join(problems[:MAX_PROBLEMS])
            raise FailedPrecondition(f"golden rows of version {version}: case {index}: {told}")
        odd.update(dict.fromkeys(golden.non_finite(names, outputs)))
        for name, classes in answers_of(rules.manifest, names, outputs).items():
            answers.setdefault(name, []).extend(classes)
    notes = [f"golden rows: not finite: {', '.join(odd)}"] if odd else []
    return {**_summary(cases, odd), "answers": answers}, notes


def _summary(cases: tuple[golden.Case, ...], odd: Mapping[str, None]) -> dict[str, Any]:
    compared = sum(1 for case in cases if case.expected)
    return {"cases": len(cases), "compared": compared, "non_finite": list(odd), "applicable": True}


def _about_memory(reason: str) -> str:
    return f"its first load needs more memory than it may use ({reason})" if lacks_memory(reason) else reason
