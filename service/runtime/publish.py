"""Putting a new version into the repository so that nobody ever sees half of it."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from router.errors import FailedPrecondition, InvalidArgument
from service.runtime.repository import MODEL_FILE, MODEL_NAME, RESERVED, VERSION_NAME

INCOMING = ".incoming-"
ATTEMPTS = 100


def publish(source: Path, models_dir: Path, name: str) -> int:
    """Copy an ONNX file, or a directory that holds `model.onnx`, to the next free version of `name`; its number.

    The files are complete and on the disk before the version's directory gets its name. Raises InvalidArgument for a
    bad name or source, FailedPrecondition when the repository cannot be written.
    """
    if not MODEL_NAME.fullmatch(name):
        raise InvalidArgument(f"{name!r} is not a model name: letters, digits, '_', and, not first, '.' and '-'")
    if name in RESERVED:
        raise InvalidArgument(f"{name!r} is not a model name here: {RESERVED[name]}")
    _check_source(source)
    model_dir = models_dir / name
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=model_dir))
        try:
            _copy(source, incoming)
            return _name_it(incoming, model_dir)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)  # nothing is left to remove when it got its name
    except OSError as error:
        raise FailedPrecondition(f"cannot write to the model repository: {error.strerror}") from error


def _check_source(source: Path) -> None:
    if not source.exists():
        raise InvalidArgument(f"{source}: no such file")
    if source.is_dir() and not (source / MODEL_FILE).is_file():
        raise InvalidArgument(f"{source}: there is no {MODEL_FILE} in it")
    for path in _tree(source):
        if not stat.S_ISREG(path.lstat().st_mode) and not (path.is_dir() and not path.is_symlink()):
            raise InvalidArgument(f"{path}: only regular files and directories can be published")


def _tree(source: Path) -> Iterator[Path]:
    # The file that was named may itself be a link: the caller chose it.
    return source.rglob("*") if source.is_dir() else iter(())


def _copy(source: Path, incoming: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, incoming, dirs_exist_ok=True, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source, incoming / MODEL_FILE)
    for directory, _, files in os.walk(incoming):
        os.chmod(directory, 0o755)
        for file in files:
            _sync(Path(directory) / file)
        _sync(Path(directory))


def _name_it(incoming: Path, model_dir: Path) -> int:
    for _ in range(ATTEMPTS):
        version = 1 + max((int(p.name) for p in model_dir.iterdir() if VERSION_NAME.fullmatch(p.name)), default=0)
        if not VERSION_NAME.fullmatch(str(version)):
            raise FailedPrecondition(f"{model_dir.name}: no version number is left")
        try:
            # rename refuses a directory that is not empty, so of two publishers one gets the next number.
            os.rename(incoming, model_dir / str(version))
        except OSError:
            if not (model_dir / str(version)).exists():
                raise
            continue
        _sync(model_dir)
        return version
    raise FailedPrecondition(f"{model_dir.name}: too many others publish at the same time")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
