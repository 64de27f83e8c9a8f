"""The one door to ONNX Runtime: providers proven before use, rows in, logits out, keys and values kept."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import io
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from riskline.errors import GuardError, ProviderError, RecordError
from riskline.manifest import Cache
from riskline.records import Logits

if TYPE_CHECKING:
    from riskline.records import Integers, RawFloats

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "dml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""Our names of execution providers, and ONNX Runtime's."""

_NVIDIA = ("cuda", "tensorrt")
# Work that must not be left to the CPU by an accelerator; shape arithmetic and gathers may be.
_HEAVY = ("MatMul", "Gemm", "Attention", "Conv")
State = Mapping[str, "RawFloats"]
"""Keys and values of one row by input name, each (1, heads, past, head_dim)."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A row that was run, and its keys and values."""

    ids: Integers
    state: State


class Beginnings:
    """Rows that texts of one guard begin with, run once: what its template says before any text."""

    most = 4

    def __init__(self) -> None:
        self._kept: dict[bytes, Kept] = {}
        self._lock = threading.Lock()

    def of(self, session: Session, ids: Integers, outputs: Sequence[str]) -> Kept:
        """Return the row of `ids` with its keys and values.

        Raises:
            RecordError: ONNX Runtime failed on it.
        """
        with self._lock:
            if (key := ids.tobytes()) not in self._kept:
                if len(self._kept) >= self.most:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[key] = session.follow(None, ids, outputs)[1]
            return self._kept[key]


def _shared(one: Integers, other: Integers) -> int:
    """How many tokens two rows begin with alike, at least one of `other` left over."""
    most = min(len(one), len(other) - 1)
    differ = np.flatnonzero(one[:most] != other[:most])
    return int(differ[0]) if len(differ) else most


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded graph on one provider; `run` may be called from several threads at once.

    `passed_over` says why `auto` did not take an accelerator whose driver is there.
    """

    provider: str
    nodes: Mapping[str, Counter[str]]
    _backend: Any
    _empty: State
    inputs: frozenset[str] = frozenset({"input_ids"})
    outputs: frozenset[str] = frozenset()
    passed_over: str | None = None

    @property
    def stateful(self) -> bool:
        """Whether the graph takes keys and values of earlier tokens."""
        return bool(self._empty)

    def run(self, rows: Sequence[Integers], outputs: Sequence[str]) -> list[Logits]:
        """Return each row's logits, each (width, classes), rows padded on the right to one batch.

        Attention is causal, so padding on the right is never seen by a real token.

        Raises:
            RecordError: ONNX Runtime failed on this input (out of memory, say).
        """
        width = max(len(row) for row in rows)
        batch = np.zeros((len(rows), width), np.int64)  # (rows, width)
        for index, row in enumerate(rows):
            batch[index, : len(row)] = row
        state = self._empty if len(rows) == 1 else {name: np.repeat(v, len(rows), 0) for name, v in self._empty.items()}
        values = self._call(outputs, {"input_ids": batch, **self._masks(rows, width), **state})
        return [
            {
                # A pooled output, (rows, classes), says one thing of the whole row.
                name: value[index, : len(row)] if value.ndim == 3 else value[index : index + 1]
                for name, value in zip(outputs, values, strict=True)
            }
            for index, row in enumerate(rows)
        ]

    def _masks(self, rows: Sequence[Integers], width: int) -> dict[str, Integers]:
        """What graphs with attention to both sides ask for beside the ids: which positions are there, one segment."""
        masks = {}
        if "attention_mask" in self.inputs:
            masks["attention_mask"] = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows], np.int64)
        if "token_type_ids" in self.inputs:
            masks["token_type_ids"] = np.zeros((len(rows), width), np.int64)
        return masks

    def follow(self, before: Kept | None, ids: Integers, outputs: Sequence[str]) -> tuple[Logits, Kept]:
        """Return the logits of the last position of a row, (1, classes), and what the next row may start from.

        What the row has in common with the one that `before` was kept from is not computed again.
        """
        if not self.stateful:
            logits = self.run([ids], outputs)[0]
            return {name: values[-1:] for name, values in logits.items()}, Kept(ids, {})
        shared = _shared(before.ids, ids) if before else 0
        past = {name: values[:, :, :shared] for name, values in before.state.items()} if before else None
        logits, state = self.step(ids[shared:], past, outputs)
        return {name: values[-1:] for name, values in logits.items()}, Kept(ids, state)

    def step(self, ids: Integers, state: State | None, outputs: Sequence[str]) -> tuple[Logits, State]:
        """Return the logits of `ids`, which follow the tokens of `state`, and the state after them."""
        past = state or self._empty
        presents = [name.replace("past_key_values", "present") for name in past]
        values = self._call([*outputs, *presents], {"input_ids": ids[None, :], **past})
        logits = {name: value[0] for name, value in zip(outputs, values, strict=False)}
        return logits, dict(zip(past, values[len(outputs) :], strict=True))

    def _call(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> list[RawFloats]:
        try:
            values: list[RawFloats] = self._backend.run(outputs, feeds)
        except Exception as error:
            raise RecordError("runtime", f"ONNX Runtime failed on this text: {_first_line(error)}") from error
        return values


def open_session(
    path: Path, provider: str, cache: Cache | None, *, threads: int = 1, other: str | None = None
) -> Session:
    """Return a session of the graph in `path` on `provider` (a key of PROVIDERS, or `auto`).

    `auto` takes CUDA where it is proven to run the whole graph, else the CPU. `other` is what to type for another
    graph of the guard, where this one is not for the provider.

    Raises:
        ProviderError: ONNX Runtime is missing, or the provider cannot run, or it leaves heavy nodes to the CPU.
        GuardError: the graph cannot be loaded.
    """
    if provider != "auto":
        return _open(path, provider, cache, threads, other)
    passed_over = None
    if driver_missing() is None and PROVIDERS["cuda"] in _runtime().get_available_providers():
        try:
            return _open(path, "cuda", cache, threads)
        except (ProviderError, GuardError) as error:
            passed_over = error.message
    return replace(_open(path, "cpu", cache, threads), passed_over=passed_over)


def _open(path: Path, provider: str, cache: Cache | None, threads: int, other: str | None = None) -> Session:
    backend = _backend(path, provider, threads)
    nodes = _nodes(backend)
    _refuse_fallback(provider, backend, nodes, other)
    inputs = {value.name: value.type for value in backend.get_inputs()}
    outputs = frozenset(value.name for value in backend.get_outputs())
    return Session(provider, nodes, backend, _empty_state(cache, inputs), frozenset(inputs), outputs)


def _backend(path: Path, provider: str, threads: int) -> Any:  # noqa: ANN401 - the library is untyped
    runtime = _runtime()
    _require(runtime, provider)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    chosen = dict.fromkeys((PROVIDERS[provider], PROVIDERS["cpu"]))
    try:
        with _library_output():
            if provider in _NVIDIA:
                runtime.preload_dlls()
            return runtime.InferenceSession(str(path), options, providers=list(chosen))
    except Exception as error:
        raise GuardError(f"cannot load `{path}`: {_first_line(error)}", hint="riskline guards verify") from error


def _runtime() -> Any:  # noqa: ANN401 - the library is untyped
    # From 1.29 on, ONNX Runtime reports its use over the network unless this is set before it is first imported.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        extra = "gpu" if driver_missing() is None else "cpu"
        raise ProviderError("no ONNX Runtime is installed", hint=f'pip install "riskline[{extra}]"') from error
    if not hasattr(onnxruntime, "InferenceSession"):  # what is left when one of two distributions is removed
        raise ProviderError("the installed ONNX Runtime is incomplete", hint="riskline doctor")
    onnxruntime.disable_telemetry_events()  # where somebody else imported it before
    return onnxruntime


def _available() -> list[str]:
    """The providers of the installed ONNX Runtime; none where none is installed."""
    try:
        return list(_runtime().get_available_providers())
    except ProviderError:
        return []


def _require(runtime: Any, provider: str) -> None:  # noqa: ANN401 - the library is untyped
    """The wheel must hold the provider and, for NVIDIA's, the driver must load: its name in a list proves neither."""
    if provider not in PROVIDERS:
        raise ProviderError(f"no provider is named `{provider}`", hint=f"one of auto, {', '.join(PROVIDERS)}")
    if provider in _NVIDIA and (missing := driver_missing()):
        raise ProviderError(
            f"provider `{provider}` cannot run: {missing} cannot be loaded, so there is no NVIDIA driver",
            hint="install the NVIDIA driver, or pass --provider cpu",
        )
    if PROVIDERS[provider] not in runtime.get_available_providers():
        other = "take an ONNX Runtime that has it, or pass --provider cpu"
        hint = 'pip uninstall onnxruntime && pip install "riskline[gpu]"' if provider in _NVIDIA else other
        raise ProviderError(f"the installed ONNX Runtime has no {provider} provider", hint=hint)


def driver_missing() -> str | None:
    """Return the name of the NVIDIA driver's library if it cannot be loaded, else None."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(name)
    except OSError:
        return name
    return None


def _nodes(backend: Any) -> dict[str, Counter[str]]:  # noqa: ANN401 - the library is untyped
    """Operators by the provider that ONNX Runtime gave them to."""
    nodes: dict[str, Counter[str]] = {}
    for subgraph in backend.get_provider_graph_assignment_info():
        counter = nodes.setdefault(subgraph.ep_name, Counter())
        counter.update(node.op_type for node in subgraph.get_nodes())
    return nodes


def _refuse_fallback(
    provider: str,
    backend: Any,  # noqa: ANN401 - the library is untyped
    nodes: Mapping[str, Counter[str]],
    other: str | None,
) -> None:
    """ONNX Runtime falls back silently: to the CPU as a whole when a library is missing, else node by node."""
    if provider == "cpu":
        return
    if PROVIDERS[provider] not in backend.get_providers():
        raise ProviderError(
            f"provider `{provider}` cannot run: ONNX Runtime could not load its libraries",
            hint='pip install "riskline[cuda]"' if provider in _NVIDIA else "riskline doctor",
        )
    left = sorted(op for op in nodes.get(PROVIDERS["cpu"], ()) if any(heavy in op for heavy in _HEAVY))
    if left:
        raise ProviderError(
            f"provider `{provider}` leaves {', '.join(left)} to the CPU",
            hint=f"{other}, or --provider cpu" if other else "pass --provider cpu, or another precision",
        )


def _empty_state(cache: Cache | None, inputs: Mapping[str, str]) -> State:
    if cache is None:
        return {}
    names = [f"past_key_values.{layer}.{kind}" for layer in range(cache.layers) for kind in ("key", "value")]
    if missing := sorted(set(names) - inputs.keys()):
        raise GuardError(
            f"the graph has no input `{missing[0]}`, which its manifest says", hint="riskline guards verify"
        )
    half = "float16" in inputs[names[0]]
    empty = np.zeros((1, cache.heads, 0, cache.head_dim), np.float16 if half else np.float32)
    return dict.fromkeys(names, empty)


@contextlib.contextmanager
def _library_output() -> Iterator[None]:
    """`preload_dlls` prints to stdout when it fails; stdout is for data."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@dataclass(frozen=True, slots=True)
class Proof:
    """What trying a provider on a real graph showed: how many nodes each provider took, or why it cannot run.

    `built_in` says whether the installed ONNX Runtime has the provider at all.
    """

    provider: str
    nodes: Mapping[str, int]
    problem: str | None = None
    hint: str | None = None
    built_in: bool = True


def prove(path: Path, provider: str, cache: Cache | None, outputs: Sequence[str]) -> Proof:
    """Create a session on `provider`, run one row through it, and say what happened."""
    try:
        session = open_session(path, provider, cache)
        session.run([np.array([1, 2, 3], np.int64)], outputs)
    except RecordError as error:
        return Proof(provider, {}, str(error))
    except (ProviderError, GuardError) as error:
        return Proof(provider, {}, error.message, error.hint, PROVIDERS.get(provider) in _available())
    return Proof(provider, {name: counter.total() for name, counter in session.nodes.items()})


def runtimes() -> dict[str, str]:
    """Return the installed ONNX Runtime distributions and their versions; more than one overwrite each other."""
    found = {}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
