"""`serin models`: what is there, in which state; publish, load and unload versions."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from router.client import AdminClient
from router.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from service import settings
from service.cli import grammar, options, output
from service.runtime import repository
from service.runtime.publish import publish

SETTLED = frozenset({"READY", "UNAVAILABLE"})
POLL_SECONDS = 0.2
APPEAR_SECONDS = 10.0
WAIT_SECONDS = 60.0

Document = dict[str, Any]


@click.group()
def models() -> None:
    """List, show, publish, load and unload models."""


@models.command("list")
@options.gateway
def list_models(asked: options.Asked) -> None:
    """List all models and versions with their state and share of the traffic."""
    with asked.connect() as client:
        found = client.models()
    if asked.as_json:
        output.emit(found)
        return
    rows = [_row(model, version) for model in found["models"] for version in model["versions"]]
    rows += [(m["name"], "", "", "", "", m["error"] or m["note"] or "") for m in found["models"] if not m["versions"]]
    headings = ["MODEL", ">VERSION", "STATE", ">WEIGHT %", "VARIANTS, ALIASES", "REASON"]
    output.table(headings, sorted(rows, key=lambda row: str(row[0])), empty="There are no models.")


@models.command("show")
@click.argument("model")
@options.gateway
def show_model(asked: options.Asked, model: str) -> None:
    """Show one model: inputs and outputs, states in every worker, its route."""
    with asked.connect() as client:
        found = client.model(model)
    if asked.as_json:
        output.emit(found)
        return
    output.say("\n".join(filter(None, (found["name"], found["description"], found["error"], found["note"]))) + "\n")
    headings = ["MODEL", ">VERSION", "STATE", ">WEIGHT %", "VARIANTS, ALIASES", "REASON"]
    output.table(headings, [_row(found, version) for version in found["versions"]], empty="It has no versions.")
    for version in found["versions"]:
        _show_version(version)


@models.command("push")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, metavar="MODEL", help="The model that gets a new version; made when missing.")
@click.option("--models", "directory", metavar="DIR", help="Models directory, when no gateway on this machine says it.")
@click.option("--wait/--no-wait", default=True, help="Wait until the running gateway knows the state of the version.")
@options.gateway
def push_model(asked: options.Asked, file: Path, name: str, directory: str | None, wait: bool) -> None:
    """Publish FILE (an ONNX file, or a directory with model.onnx) as the next version of a model.

    The version appears whole or not at all, and gets no traffic until somebody gives it weight.
    """
    status = _status(asked)
    target = _directory(directory, status, asked)
    version = publish(file, target, name)
    found: Document = {"model": name, "version": version, "state": None, "reason": ""}
    if wait and status is not None and _same(target, status):
        found |= _await_state(name, version, asked)
    if asked.as_json:
        output.emit(found)
    else:
        told = " ".join(filter(None, (found["state"], found["reason"])))
        output.say(f"{name}:{version}" + (f": {told}" if told else ""))
    if found["state"] == "UNAVAILABLE":
        raise FailedPrecondition(f"{name}:{version} was published but cannot be used: {found['reason']}")


@models.command("load")
@click.argument("model", metavar="MODEL[:VERSION]")
@options.gateway
def load_model(asked: options.Asked, model: str) -> None:
    """Bring a version, or all of a model, into memory; out of quarantine too."""
    name, version = grammar.version_of(model)
    with asked.connect() as client:
        _applied(client.load(name, version), f"{model} is loaded", asked.as_json)


@models.command("unload")
@click.argument("model", metavar="MODEL[:VERSION]")
@options.gateway
def unload_model(asked: options.Asked, model: str) -> None:
    """Take a version, or all of a model, out of memory once its requests in flight are done."""
    name, version = grammar.version_of(model)
    with asked.connect() as client:
        _applied(client.unload(name, version), f"{model} is unloaded", asked.as_json)


def _row(model: Mapping[str, Any], version: Mapping[str, Any]) -> tuple[object, ...]:
    names = ", ".join([*version["variants"], *version["aliases"]])
    weight = output.number(version["weight"]) if model["route"] else ""
    return (model["name"], version["version"], version["state"], weight, names, version["reason"])


def _show_version(version: Document) -> None:
    output.say(f"\nversion {version['version']}   {version['digest'] or ''}")
    signature = version["signature"] or {"inputs": [], "outputs": []}
    rows = [
        (kind, tensor["name"], tensor["datatype"], tensor["shape"])
        for kind in ("inputs", "outputs")
        for tensor in signature[kind]
    ]
    output.table(["", "TENSOR", "TYPE", "SHAPE"], rows, empty="(inputs and outputs are not known)")
    workers = [(worker["worker"], worker["state"], worker["reason"]) for worker in version["workers"]]
    output.table([">WORKER", "STATE", "REASON"], workers, empty="(no worker reports yet)")


def _applied(answer: Document, text: str, as_json: bool) -> None:
    if as_json:
        output.emit(answer)
    else:
        output.say(
            f"{text} (revision {answer['revision']}, applied by {answer['applied']} of {answer['workers']} workers)"
        )


@models.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False))
def digest(paths: tuple[str, ...]) -> None:
    """Print the digest of each version in PATH: a version's, a model's, or a models directory.

    The lines are those of the file that the setting allowed_digests_file names.
    """
    for path in paths:
        for name, version in _versions_in(Path(path).resolve()):
            try:
                output.say(f"{repository.digest(str(version), str(version.parent.parent))}  {name}")
            except (repository.Refused, OSError) as error:
                raise FailedPrecondition(f"{name}: {error}") from error


def _versions_in(path: Path) -> Iterator[tuple[str, Path]]:
    """(model/version, directory) of what lies in a directory, in order."""
    if path.joinpath(repository.MODEL_FILE).exists():
        yield f"{path.parent.name}/{path.name}", path
        return
    depths = ("*", "*/*")
    found = [version for depth in depths for version in path.glob(f"{depth}/{repository.MODEL_FILE}")]
    for file in sorted(found, key=lambda file: (file.parent.parent.name, file.parent.name.zfill(20))):
        if repository.VERSION_NAME.fullmatch(file.parent.name):
            yield f"{file.parent.parent.name}/{file.parent.name}", file.parent


def _status(asked: options.Asked) -> Document | None:
    try:
        with asked.connect() as client:
            return client.status()
    except Unavailable:
        if asked.given["admin_url"] is not None:
            raise
        return None


def _directory(flag: str | None, status: Document | None, asked: options.Asked) -> Path:
    if flag is not None:
        target = Path(flag)
    elif status is not None and status.get("models_directory"):
        target = Path(status["models_directory"])
    else:
        target = settings.load({"config": asked.given["config"]}).models
    if not target.is_dir():
        raise InvalidArgument(f"no such directory: {target}; say where the models are with --models")
    return target


def _same(target: Path, status: Document) -> bool:
    served = status.get("models_directory")
    return not served or (Path(served).is_dir() and target.samefile(served))


def _await_state(name: str, version: int, asked: options.Asked) -> Document:
    """State and reason once they are final, else the last ones; a state of None: the gateway never saw the version."""
    found: Document = {"state": None, "reason": ""}
    began = time.monotonic()
    with asked.connect() as client:
        client.rescan()
        while time.monotonic() - began < (WAIT_SECONDS if found["state"] else APPEAR_SECONDS):
            seen = _version(client, name, version)
            if seen is not None:
                found = {"state": seen["state"], "reason": seen["reason"]}
            if found["state"] in SETTLED:
                return found
            time.sleep(POLL_SECONDS)
    return found if found["state"] else {"state": None, "reason": "the gateway does not see it; has it other --models?"}


def _version(client: AdminClient, name: str, version: int) -> Document | None:
    try:
        versions = client.model(name)["versions"]
    except NotFound:  # a new model that the next scan will find
        return None
    return next((seen for seen in versions if seen["version"] == version), None)
