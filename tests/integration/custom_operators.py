"""A real library of custom operators, found without an import: its package sets variables for the whole process."""

from importlib.util import find_spec
from pathlib import Path


def library_path() -> Path:
    """The shared object of onnxruntime-extensions, which takes the place of an operator's own."""
    found = find_spec("onnxruntime_extensions")
    assert found is not None
    assert found.submodule_search_locations
    (library,) = Path(found.submodule_search_locations[0]).glob("_extensions_pydll*.so")
    return library
