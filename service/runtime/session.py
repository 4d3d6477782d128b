"""One ONNX model in memory. The only importer of onnxruntime: its types, errors and oddities end here."""

import ctypes
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import onnxruntime
from ml_dtypes import bfloat16

from router.errors import Cancelled, FailedPrecondition, Internal, InvalidArgument, SerinError
from service.protocol.tensors import Array, Signature, TensorSpec
from service.runtime import octets
from service.runtime.graph import shapeless

RUNTIME_VERSION: str = onnxruntime.__version__
PROVIDERS = ("CPUExecutionProvider",)
SILENT = 4
STRING_ONNX, BFLOAT16_ONNX = 8, 16  # onnx.TensorProto.STRING, BFLOAT16
MAX_REASON = 300
MAX_READ = 4000
"""So much of what ONNX Runtime says is read: the file may have put anything in it, of any length."""

WEIGHTS_SUFFIX = ".weights"

DATATYPE_OF: Mapping[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}

_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_WHERE = re.compile(r"(?<!\S)\S*\.(?:h|hpp|cc|cpp|cu):\d+ (?:[^()]*\([^)]*\)(?: \[with [^]]*\])? )?")
_LOAD = re.compile(r"Load model from .*? failed:\s*", re.S)
_PATH = re.compile(r"(?<![\w)])(?:/[\w.@+~-]+){2,}/?")
_SHAPE_TALK = re.compile(r"shape|dimension|broadcast|rank|axis|out of bounds|size mismatch|incompatible", re.I)


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session computes. `threads`: of one operator, the calling thread among them; `spinning`: they wait for the
    next run on their cores. `graph`: how far it is optimised; not at all where `optimize` is off. `providers`: what
    computes, in the order in which it is wanted. `libraries`: with operators that models may use, by the server's
    settings alone."""

    threads: int = 1
    arena: bool = True
    optimize: bool = True
    spinning: bool = False
    graph: Literal["all", "extended", "basic", "off"] = "all"
    providers: tuple[str, ...] = PROVIDERS
    libraries: tuple[str, ...] = ()


class Session:
    """A loaded model. Raises FailedPrecondition with a reason fit to be shown when the file cannot be served.

    `run` may be called from several threads at once. BYTES go in as an object array of `bytes` or `str` and come out as
    one of `str`, with `bytes` for what is not UTF-8. `inputs` and `outputs` of `signature` are in the model's order.
    `metadata`: what its file says of it. `note`: which of the providers that were asked for do not compute it, "" when
    all do.
    """

    def __init__(self, path: str, options: SessionOptions) -> None:
        onnxruntime.set_default_logger_severity(SILENT)
        onnxruntime.disable_telemetry_events()
        try:
            known = _known(options.providers)
            self._session = onnxruntime.InferenceSession(path, _native(options), providers=known, enable_fallback=0)
        except Exception as error:
            raise FailedPrecondition(f"ONNX Runtime cannot load it: {_plain(error, path)}") from error
        self.note = _missed(options.providers, self._session.get_providers())
        try:
            self.signature = _signature(self._session, path)
            self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            raise FailedPrecondition("a name or a description in it is not UTF-8 text") from error
        self._names = [spec.name for spec in self.signature.outputs]
        self._texts = _named(self.signature.inputs, "BYTES")
        self._halves_in = _named(self.signature.inputs, "BF16")
        self._halves_out = _named(self.signature.outputs, "BF16")
        # The plain call cannot make arrays of BF16, nor of bytes that are not UTF-8.
        self._runs_by_value = bool(self._halves_out)
        self._given = len(self.signature.inputs)
        # InferenceSession.run checks in Python what the native call checks again; that is a fifth of a small run.
        self._run = getattr(self._session, "_sess", self._session).run

    def run(self, feeds: Mapping[str, Array], names: Sequence[str] | None = None, stop: Any = None) -> list[Array]:
        """The outputs in the order of `names`, or of the model. `stop` is a `StopSwitch` of this session.

        Raises InvalidArgument when the caller's tensors are at fault, Cancelled after a stop, Internal otherwise.
        """
        if len(feeds) != self._given:  # the native call would run on with nothing in place of a missing input
            raise InvalidArgument(f"the model takes {self._given} inputs, but {len(feeds)} were given")
        try:
            names = names or self._names
            plain = None if self._runs_by_value else self._plain(feeds)
            if plain is None:
                return self._run_by_value(feeds, names, stop)
            try:
                return self._run(names, plain, stop)  # type: ignore[no-any-return]
            except UnicodeDecodeError:
                answer = self._run_by_value(feeds, names, stop)
                self._runs_by_value = True  # it answers so whatever it is asked, so do not run it twice again
                return answer
        except SerinError:
            raise
        except Exception as error:
            raise self._explain(error, feeds, stop) from error

    def switch(self) -> "StopSwitch":
        """Hand it to one `run`; `stop` ends that run at the model's next operator."""
        return StopSwitch()

    def _plain(self, feeds: Mapping[str, Array]) -> Mapping[str, Any] | None:
        """As the plain call takes them; None: they hold bytes that are not UTF-8, which it does not."""
        if self._texts:
            try:
                feeds = {name: octets.text(array) if name in self._texts else array for name, array in feeds.items()}
            except UnicodeDecodeError:
                return None
        if self._halves_in:
            feeds = {name: _half(array) if name in self._halves_in else array for name, array in feeds.items()}
        return feeds

    def _run_by_value(self, feeds: Mapping[str, Array], names: Sequence[str], stop: Any) -> list[Array]:
        values = {name: self._value(name, array) for name, array in feeds.items()}
        return [_array(value) for value in self._session.run_with_ort_values(list(names), values, stop)]

    def _value(self, name: str, array: Array) -> Any:
        if name in self._texts:
            return _held(array)
        return _half(array) if name in self._halves_in else _value(array)

    def _explain(self, error: Exception, feeds: Mapping[str, Array], stop: Any) -> SerinError:
        if stop is not None and stop.terminate:
            return Cancelled("the run was stopped")
        if isinstance(error, UnicodeDecodeError):
            reason = "what the model answers, or why it does not, holds bytes that are not UTF-8"
            return InvalidArgument(reason) if self._texts else Internal(reason)
        if isinstance(error, UnicodeEncodeError):
            return InvalidArgument("an input holds text that is not valid Unicode")
        reason = _plain(error)
        if type(error).__name__ == "InvalidArgument" or (self._shapes_are_free and _SHAPE_TALK.search(reason)):
            return InvalidArgument(f"the model cannot take these inputs: {reason}")
        return Internal(f"the model failed: {reason}")

    @property
    def _shapes_are_free(self) -> bool:
        """Whether a caller can give shapes that the signature allows and the graph does not."""
        return any(spec.shape is None or -1 in spec.shape for spec in self.signature.inputs)


def write_packed(path: str, target: str, options: SessionOptions) -> None:
    """Write the model of `path` to `target` as ONNX Runtime has optimised it, its weights arranged as kernels read them
    in a file beside it, which sessions map. To be loaded with `optimize` off, by this ONNX Runtime on this kind of
    processor. Raises FailedPrecondition.
    """
    native = _native(options)
    native.optimized_model_filepath = target
    beside = "session.optimized_model_external_initializers"
    native.add_session_config_entry(f"{beside}_file_name", os.path.basename(target) + WEIGHTS_SUFFIX)
    native.add_session_config_entry(f"{beside}_min_size_in_bytes", "1024")
    native.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
    try:
        onnxruntime.InferenceSession(path, native, providers=PROVIDERS, enable_fallback=0)
    except Exception as error:
        raise FailedPrecondition(f"ONNX Runtime cannot pack it: {_plain(error, path)}") from error


class StopSwitch(onnxruntime.RunOptions):  # type: ignore[misc]
    """Ends one run from another thread."""

    def stop(self) -> None:
        self.terminate = True


def _native(options: SessionOptions) -> Any:
    native = onnxruntime.SessionOptions()
    native.intra_op_num_threads = options.threads
    native.inter_op_num_threads = 1
    native.log_severity_level = SILENT
    native.enable_cpu_mem_arena = options.arena
    levels = onnxruntime.GraphOptimizationLevel
    level = {"all": levels.ORT_ENABLE_ALL, "extended": levels.ORT_ENABLE_EXTENDED, "basic": levels.ORT_ENABLE_BASIC}
    native.graph_optimization_level = level.get(options.graph if options.optimize else "off", levels.ORT_DISABLE_ALL)
    # Threads that spin between runs would take the cores of other workers.
    spinning = "1" if options.spinning else "0"
    native.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    native.add_session_config_entry("session.inter_op.allow_spinning", spinning)
    for library in options.libraries:
        native.register_custom_ops_library(library)
    return native


def _known(wanted: Sequence[str]) -> list[str]:
    """Those that this ONNX Runtime has, and the processor at last, which computes what the others cannot."""
    available = onnxruntime.get_available_providers()
    return list(dict.fromkeys((*(name for name in wanted if name in available), *PROVIDERS)))


def _missed(wanted: Sequence[str], got: Sequence[str]) -> str:
    missed = [name for name in wanted if name not in got]
    return f"it runs on {got[0]}: this ONNX Runtime could not use {', '.join(missed)}" if missed else ""


def _signature(session: Any, path: str) -> Signature:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    # ONNX Runtime shows [] for a scalar and for an unknown rank alike.
    unknown = shapeless(path) if any(not node.shape for node in (*inputs, *outputs)) else set()
    return Signature(
        tuple(_spec("input", node, unknown) for node in inputs),
        tuple(_spec("output", node, unknown) for node in outputs),
    )


def _spec(part: str, node: Any, unknown: set[str]) -> TensorSpec:
    if (datatype := DATATYPE_OF.get(node.type)) is None:
        raise FailedPrecondition(
            f"{part} {node.name!r} is {node.type}, which the Open Inference Protocol cannot carry; only tensors of "
            "numbers, booleans and text can be served"
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return TensorSpec(node.name, datatype, None if node.name in unknown else shape)


def _held(array: Array) -> Any:
    """A value of any bytes, which the Python API does not make of arrays."""
    return _constant(octets.holding(octets.of(array), array.shape))


def _constant(model: bytes) -> Any:
    native = _native(SessionOptions(arena=False, optimize=False))
    session = onnxruntime.InferenceSession(model, native, providers=PROVIDERS, enable_fallback=0)
    return session.run_with_ort_values([octets.NAME], {})[0]


@cache
def _octets_can_be_read() -> bool:
    sample = _constant(octets.holding(octets.SAMPLE, [len(octets.SAMPLE)]))
    return octets.is_readable(sample.data_ptr())


def _named(specs: Sequence[TensorSpec], datatype: str) -> frozenset[str]:
    return frozenset(spec.name for spec in specs if spec.datatype == datatype)


def _half(array: Array) -> Any:
    """numpy has no bfloat16 that ONNX Runtime knows, so the two bytes travel as uint16; the value keeps them alive."""
    raw = np.ascontiguousarray(array).reshape(array.shape).view(np.uint16)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, BFLOAT16_ONNX)


def _value(array: Array) -> Any:
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array).reshape(array.shape))


def _array(value: Any) -> Array:
    kind, shape = value.element_type(), tuple(value.shape())
    if kind == STRING_ONNX and _octets_can_be_read():
        return octets.array(value.data_ptr(), shape)
    if kind != BFLOAT16_ONNX:
        return value.numpy()  # type: ignore[no-any-return]
    size_bytes = math.prod(shape) * 2
    content = ctypes.string_at(value.data_ptr(), size_bytes) if size_bytes else b""
    return np.frombuffer(content, dtype=bfloat16).reshape(shape)


def _plain(error: Exception, path: str = "") -> str:
    """What ONNX Runtime says, without its source positions, without paths, on one line and of bounded length."""
    if isinstance(error, UnicodeDecodeError):  # the binding fails on the message of the error that it would raise
        return "it says why in text that is not UTF-8, so the file is most likely damaged"
    text = str(error)
    if path:
        text = text.replace(path, "the file").replace(os.path.dirname(path), "")
    text = _LOAD.sub("", _CODE.sub("", text[:MAX_READ]))
    text = _PATH.sub("", _WHERE.sub("", text))
    text = " ".join(text.replace("Non-zero status code returned while running ", "").split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 3] + "..."
