"""A decoder with keys and values as an ONNX graph, assembled by hand from a checkpoint, one tensor at a time.

Standard operators only (opset 23) but for whole-number weights, so that any provider can run it. Nothing of the model
is traced: what sets the families apart is a table, and a setting that is not understood is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper

from riskline.errors import GuardError
from riskline.export.checkpoint import Checkpoint
from riskline.manifest import Cache

if TYPE_CHECKING:
    from riskline.records import Floats, RawFloats

Precision: TypeAlias = Literal["fp32", "fp16", "int8", "int4"]
BLOCK = 32
"""Weights of one row that share a scale, in whole-number precisions."""
DATA = "model.onnx.data"
_SMALL = 1024
"""Bytes up to which a constant stays in the graph's own file."""
_KINDS = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.uint8): TensorProto.UINT8,
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of the language-model head, at every position."""

    output: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Classifier:
    """The `score` layer of a sequence classifier, at every position."""

    output: str


@dataclass(frozen=True, slots=True)
class Guarded:
    """The heads of Qwen3Guard-Stream: logits = W · RMSNorm(Pre · h); tensors' names to outputs."""

    outputs: Mapping[str, str]


Head: TypeAlias = Rows | Classifier | Guarded


@dataclass(frozen=True, slots=True)
class Family:
    """What sets an architecture apart from Llama's."""

    head_norms: bool = False
    biases: bool = False
    granite: bool = False
    gemma: int = 0


FAMILIES = {
    "LlamaForCausalLM": Family(),
    "LlamaForSequenceClassification": Family(),
    "MistralForCausalLM": Family(),
    "MistralForSequenceClassification": Family(),
    "Qwen2ForCausalLM": Family(biases=True),
    "Qwen2ForSequenceClassification": Family(biases=True),
    "Qwen3ForCausalLM": Family(head_norms=True),
    "Qwen3ForSequenceClassification": Family(head_norms=True),
    "Qwen3ForGuardModel": Family(head_norms=True),
    "GraniteForCausalLM": Family(granite=True),
    "Gemma2ForCausalLM": Family(gemma=2),
    "Gemma3ForCausalLM": Family(gemma=3, head_norms=True),
}
"""The architectures that can be assembled."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a decoder, read from its configuration."""

    family: Family
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    epsilon: float
    positions: int
    activation: str
    scale: float
    embedding: float = 1.0
    residual: float = 1.0
    logits: float = 1.0
    cap: float = 0.0
    final_cap: float = 0.0
    windows: tuple[int, ...] = ()
    """The sliding window of each layer, 0 where it sees everything; empty where all do."""


def read_shape(config: Mapping[str, Any]) -> Shape:
    """Return the numbers of a configuration.

    Raises:
        GuardError: the architecture is not known, or a setting is not understood.
    """
    name = (config.get("architectures") or ["none"])[0]
    if name not in FAMILIES:
        raise GuardError(f"the architecture {name} cannot be assembled; those that can: {', '.join(sorted(FAMILIES))}")
    family = FAMILIES[name]
    try:
        heads = int(config["num_attention_heads"])
        head_dim = int(config.get("head_dim") or config["hidden_size"] // heads)
        scale = 1 / math.sqrt(head_dim)
        if family.granite:
            scale = float(config["attention_multiplier"])
        elif family.gemma:
            scale = float(config["query_pre_attn_scalar"]) ** -0.5
        return Shape(
            family=family,
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=head_dim,
            epsilon=float(config["rms_norm_eps"]),
            positions=int(config["max_position_embeddings"]),
            activation=_activation(config),
            scale=scale,
            embedding=float(config.get("embedding_multiplier", 1.0))
            if family.granite
            else (math.sqrt(config["hidden_size"]) if family.gemma else 1.0),
            residual=float(config.get("residual_multiplier", 1.0)) if family.granite else 1.0,
            logits=float(config.get("logits_scaling", 1.0)) if family.granite else 1.0,
            cap=float(config.get("attn_logit_softcapping") or 0.0),
            final_cap=float(config.get("final_logit_softcapping") or 0.0),
            windows=_windows(config, family),
        )
    except KeyError as error:
        raise GuardError(f"config.json has no {error}, which {name} needs") from error


def _activation(config: Mapping[str, Any]) -> str:
    name = config.get("hidden_activation") or config.get("hidden_act") or "silu"
    if name not in ("silu", "gelu_pytorch_tanh"):
        raise GuardError(f"config.json: `hidden_act` is {name!r}; this version knows silu and gelu_pytorch_tanh")
    return str(name)


def _windows(config: Mapping[str, Any], family: Family) -> tuple[int, ...]:
    """Local layers, where the configuration has any that see less than the model's positions."""
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return ()
    layers = int(config["num_hidden_layers"])
    if kinds := config.get("layer_types"):
        local = [kind == "sliding_attention" for kind in kinds]
    elif family.gemma == 3:
        local = [bool((index + 1) % int(config.get("sliding_window_pattern", 6))) for index in range(layers)]
    elif family.gemma == 2:
        local = [index % 2 == 0 for index in range(layers)]
    else:
        start = int(config.get("max_window_layers", 0)) if "max_window_layers" in config else 0
        local = [index >= start for index in range(layers)]
    return tuple(int(window) if here else 0 for here in local) if any(local) else ()


def frequencies(config: Mapping[str, Any], head_dim: int, *, local: bool = False) -> Floats:
    """Return the inverse frequencies of the rotary embedding, (head_dim / 2,), stretched as the configuration says.

    Raises:
        GuardError: the way of stretching is not known.
    """
    theta = float(config.get("rope_local_base_freq", 10_000.0) if local else config.get("rope_theta", 10_000.0))
    if config.get("partial_rotary_factor", 1.0) != 1.0:
        raise GuardError("config.json: `partial_rotary_factor` is set; this version turns whole heads only")
    plain = theta ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    scaling = None if local else config.get("rope_scaling")
    kind = (scaling or {}).get("rope_type") or (scaling or {}).get("type") or "default"
    if scaling is None or kind == "default":
        return plain
    if kind == "linear":
        return np.asarray(plain / float(scaling["factor"]))
    if kind != "llama3":
        raise GuardError(f"config.json: `rope_scaling` is of type {kind!r}; this version knows linear and llama3")
    factor, low, high = (float(scaling[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    length = float(scaling["original_max_position_embeddings"])
    smooth = np.clip((length * plain / (2 * math.pi) - low) / (high - low), 0, 1)
    return np.asarray((1 - smooth) * plain / factor + smooth * plain)


@dataclass(slots=True)
class Graph:
    """Nodes and constants as they are added; every method returns the name of what it made."""

    checkpoint: Checkpoint
    shape: Shape
    precision: Precision
    data: BinaryIO
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    count: int = 0

    @property
    def kind(self) -> type[np.floating[Any]]:
        """The type of activations."""
        return np.float16 if self.precision == "fp16" else np.float32

    def op(self, kind: str, *inputs: str, outputs: int | tuple[str, ...] = 1, **attributes: Any) -> str:  # noqa: ANN401
        """Add a node; an operator of ONNX Runtime's own has its domain among the attributes."""
        self.count += 1
        names = outputs if isinstance(outputs, tuple) else tuple(f"{kind}_{self.count}_{i}" for i in range(outputs))
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0]

    def constant(self, name: str, values: np.ndarray[Any, Any]) -> str:
        """Add a constant; a large one goes to the file of weights at once."""
        if name in self.constants:
            return name
        values = np.ascontiguousarray(values)
        tensor = TensorProto(name=name, data_type=_KINDS[values.dtype], dims=values.shape)
        if values.nbytes <= _SMALL:
            tensor.raw_data = values.tobytes()
        else:
            self.data.seek(-(-self.data.tell() // 64) * 64)  # aligned, so that it can be mapped
            place = {"location": DATA, "offset": str(self.data.tell()), "length": str(values.nbytes)}
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in place.items():
                tensor.external_data.add(key=key, value=value)
            self.data.write(values.tobytes())
        self.constants[name] = tensor
        return name

    def number(self, value: float, kind: type[np.generic] | None = None) -> str:
        """Add a scalar of the activations' type."""
        kind = kind or self.kind
        return self.constant(f"number_{value!r}_{kind.__name__}", np.array(value, kind))

    def linear(self, x: str, name: str) -> str:
        """X (…, in) times a weight (out, in) transposed, plus its bias (out,) where there is one."""
        weight = self.checkpoint.tensor(f"{name}.weight")
        if self.precision in ("fp32", "fp16"):
            product = self.op("MatMul", x, self.constant(f"{name}.weight", weight.T.astype(self.kind)))
        else:
            product = self._narrow(x, name, weight)
        if f"{name}.bias" in self.checkpoint.stored:
            bias = self.checkpoint.tensor(f"{name}.bias").astype(self.kind)
            product = self.op("Add", product, self.constant(f"{name}.bias", bias))
        return product

    def _narrow(self, x: str, name: str, weight: RawFloats) -> str:
        """Whole-number weights with a scale for every block; activations stay float (accuracy_level 1).

        Level 4 rounds activations by blocks of a row and is three times as fast with 8 bits, but at the size of a real
        guard a step's logits were then 0.02 from the prefill's: more than a trajectory may move.
        """
        bits = 8 if self.precision == "int8" else 4
        packed, scales = narrow(weight, bits)
        return self.op(
            "MatMulNBits", x, self.constant(f"{name}.packed", packed), self.constant(f"{name}.scales", scales),
            domain="com.microsoft", K=weight.shape[1], N=weight.shape[0], bits=bits, block_size=BLOCK, accuracy_level=1,
        )  # fmt: skip

    def norm(self, x: str, name: str, kind: type[np.floating[Any]] | None = None) -> str:
        """Root-mean-square norm over the last axis; Gemma's weights are what is added to one."""
        scale = self.checkpoint.tensor(f"{name}.weight") + (1 if self.shape.family.gemma else 0)
        weight = self.constant(f"{name}.scale", scale.astype(kind or self.kind))
        # stash_type 1: the mean is taken in single precision, whatever the activations are.
        return self.op("RMSNormalization", x, weight, axis=-1, epsilon=self.shape.epsilon, stash_type=1)


def narrow(weight: RawFloats, bits: int) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], RawFloats]:
    """Return weights (out, in) as whole numbers, (out, blocks, bytes), and their scales, (out * blocks,)."""
    out, width = weight.shape
    blocks = -(-width // BLOCK)
    padded = np.zeros((out, blocks * BLOCK), np.float32)
    padded[:, :width] = weight
    groups = padded.reshape(out, blocks, BLOCK)
    middle = 1 << (bits - 1)
    scales = np.maximum(np.abs(groups).max(axis=2) / (middle - 1), 1e-12).astype(np.float32)
    whole = (np.clip(np.round(groups / scales[..., None]), 1 - middle, middle - 1) + middle).astype(np.uint8)
    if bits == 4:
        whole = whole[..., 0::2] | (whole[..., 1::2] << 4)
    return whole, scales.reshape(-1)


def assemble(checkpoint: Checkpoint, head: Head, precision: Precision, folder: Path) -> Cache:
    """Write the graph and its weights into `folder` and return what keys and values it has.

    Raises:
        GuardError: the architecture or a setting is not known, or a tensor is missing.
    """
    shape = read_shape(checkpoint.config)
    with (folder / DATA).open("wb") as data:
        graph = Graph(checkpoint, shape, precision, data)
        x = _embed(graph)
        turns = _rotary(graph)
        for index in range(shape.layers):
            x = _layer(graph, index, x, turns)
        x = graph.norm(x, "model.norm")
        x = graph.op("Cast", x, to=TensorProto.FLOAT) if precision == "fp16" else x
        outputs = _head(graph, head, x)
    onnx.save(_model(graph, outputs), folder / "model.onnx")
    return Cache(shape.layers, shape.kv_heads, shape.head_dim)


def _embed(graph: Graph) -> str:
    table = graph.checkpoint.tensor("model.embed_tokens.weight")
    kind = np.float32 if graph.precision == "fp32" else np.float16
    x = graph.op("Gather", graph.constant("embedding", table.astype(kind)), "input_ids")
    if kind is not graph.kind:
        x = graph.op("Cast", x, to=TensorProto.FLOAT)
    return graph.op("Mul", x, graph.number(graph.shape.embedding)) if graph.shape.embedding != 1 else x


def _rotary(graph: Graph) -> dict[bool, tuple[str, str]]:
    """Cosines and sines of the new tokens' positions, (batch, new, head_dim / 2), of whole and of local layers."""
    past = graph.op("Shape", "past_key_values.0.key", start=2, end=3)
    new = graph.op("Shape", "input_ids", start=1, end=2)
    scalars = [graph.op("Squeeze", value) for value in (past, graph.op("Add", past, new))]
    places = graph.op("Range", *scalars, graph.constant("one", np.array(1, np.int64)))
    places = graph.op("Expand", places, graph.op("Shape", "input_ids"))
    kinds = {True, False} if graph.shape.family.gemma == 3 and graph.shape.windows else {False}
    found = {}
    for local in kinds:
        steps = frequencies(graph.checkpoint.config, graph.shape.head_dim, local=local)
        # Rows up to the model's positions; more than a guard's window are never asked for.
        angles = np.outer(np.arange(min(graph.shape.positions, 32_768)), steps)
        tables = [graph.constant(f"{f.__name__}_{local}", f(angles).astype(graph.kind)) for f in (np.cos, np.sin)]
        cos, sin = (graph.op("Gather", table, places) for table in tables)
        found[local] = (cos, sin)
    return found


def _layer(graph: Graph, index: int, x: str, turns: Mapping[bool, tuple[str, str]]) -> str:
    name, family = f"model.layers.{index}", graph.shape.family
    mixed = _attention(graph, index, graph.norm(x, f"{name}.input_layernorm"), turns)
    if family.gemma:
        mixed = graph.norm(mixed, f"{name}.post_attention_layernorm")
    x = _added(graph, x, mixed)
    inner = graph.norm(x, f"{name}.{'pre_feedforward' if family.gemma else 'post_attention'}_layernorm")
    gate = graph.linear(inner, f"{name}.mlp.gate_proj")
    if graph.shape.activation == "silu":
        gate = graph.op("Mul", gate, graph.op("Sigmoid", gate))
    else:
        gate = graph.op("Gelu", gate, approximate="tanh")
    out = graph.linear(graph.op("Mul", gate, graph.linear(inner, f"{name}.mlp.up_proj")), f"{name}.mlp.down_proj")
    return _added(graph, x, graph.norm(out, f"{name}.post_feedforward_layernorm") if family.gemma else out)


def _added(graph: Graph, x: str, more: str) -> str:
    scaled = graph.op("Mul", more, graph.number(graph.shape.residual)) if graph.shape.residual != 1 else more
    return graph.op("Add", x, scaled)


def _attention(graph: Graph, index: int, x: str, turns: Mapping[bool, tuple[str, str]]) -> str:
    name, shape = f"model.layers.{index}.self_attn", graph.shape
    window = shape.windows[index] if shape.windows else 0
    cos, sin = turns.get(bool(window), turns[False])
    parts = []
    for part, heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads)):
        split = graph.constant(f"split_{heads}", np.array([0, 0, heads, shape.head_dim], np.int64))
        y = graph.op("Reshape", graph.linear(x, f"{name}.{part}_proj"), split)
        if part != "v":
            y = graph.norm(y, f"{name}.{part}_norm") if shape.family.head_norms else y
        y = graph.op("Transpose", y, perm=[0, 2, 1, 3])  # (batch, heads, new, head_dim)
        parts.append(y if part == "v" else graph.op("RotaryEmbedding", y, cos, sin))
    past = [f"past_key_values.{index}.{kind}" for kind in ("key", "value")]
    settings: dict[str, Any] = {"softcap": shape.cap} if shape.cap else {}
    mask = _local(graph, window) if window else ""
    mixed = graph.op(
        "Attention", *parts, mask, *past,
        outputs=(f"mixed_{index}", f"present.{index}.key", f"present.{index}.value"),
        is_causal=1, scale=shape.scale, **settings,
    )  # fmt: skip
    flat = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
    whole = graph.constant("join", np.array([0, 0, shape.heads * shape.head_dim], np.int64))
    return graph.linear(graph.op("Reshape", flat, whole), f"{name}.o_proj")


def _local(graph: Graph, window: int) -> str:
    """What a local layer adds to its scores, (new, total): nothing inside the window, minus infinity before it."""
    name = f"local_{window}"
    if any(name in node.output for node in graph.nodes):
        return name
    one, zero = graph.constant("one", np.array(1, np.int64)), graph.constant("zero", np.array(0, np.int64))
    past = graph.op("Squeeze", graph.op("Shape", "past_key_values.0.key", start=2, end=3))
    total = graph.op("Add", past, graph.op("Squeeze", graph.op("Shape", "input_ids", start=1, end=2)))
    rows = graph.op("Unsqueeze", graph.op("Range", past, total, one), graph.constant("axis", np.array([1], np.int64)))
    distance = graph.op("Sub", rows, graph.op("Range", zero, total, one))
    seen = graph.op("Less", distance, graph.constant(name + "_size", np.array(window, np.int64)))
    lowest = -1e4 if graph.precision == "fp16" else -1e9
    return graph.op("Where", seen, graph.number(0.0), graph.number(lowest), outputs=(name,))


def _head(graph: Graph, head: Head, x: str) -> dict[str, int]:
    """Add the heads, in single precision whatever the rest is; return outputs and how many classes each has."""
    makers: dict[type, Callable[..., dict[str, int]]] = {Rows: _rows, Classifier: _classifier, Guarded: _guarded}
    return makers[type(head)](graph, head, x)


def _rows(graph: Graph, head: Rows, x: str) -> dict[str, int]:
    tied = graph.checkpoint.config.get("tie_word_embeddings") or "lm_head.weight" not in graph.checkpoint.stored
    table = graph.checkpoint.tensor("model.embed_tokens.weight" if tied else "lm_head.weight")
    cap, scale = graph.shape.final_cap, graph.shape.logits
    weight = table[list(head.ids)].T / scale
    if not cap:
        graph.op("MatMul", x, graph.constant("rows", weight.astype(np.float32)), outputs=(head.output,))
    else:
        logits = graph.op("MatMul", x, graph.constant("rows", (weight / cap).astype(np.float32)))
        graph.op("Mul", graph.op("Tanh", logits), graph.number(cap, np.float32), outputs=(head.output,))
    return {head.output: len(head.ids)}


def _classifier(graph: Graph, head: Classifier, x: str) -> dict[str, int]:
    weight = graph.checkpoint.tensor("score.weight")
    biased = "score.bias" in graph.checkpoint.stored
    product = graph.op("MatMul", x, graph.constant("score", weight.T), outputs=1 if biased else (head.output,))
    if biased:
        graph.op(
            "Add", product, graph.constant("score.bias", graph.checkpoint.tensor("score.bias")), outputs=(head.output,)
        )
    return {head.output: len(weight)}


def _guarded(graph: Graph, head: Guarded, x: str) -> dict[str, int]:
    inner, classes = {}, {}
    for stem in ("", "query_"):
        pre = graph.checkpoint.tensor(f"{stem}risk_level_category_pre.weight")
        y = graph.op("MatMul", x, graph.constant(f"{stem}pre", pre.T))
        inner[stem] = graph.norm(y, f"{stem}risk_level_category_layernorm", np.float32)
    for name, output in head.outputs.items():
        weight = graph.checkpoint.tensor(f"{name}.weight")
        stem = "query_" if name.startswith("query_") else ""
        graph.op("MatMul", inner[stem], graph.constant(name, weight.T), outputs=(output,))
        classes[output] = len(weight)
    return classes


def _model(graph: Graph, outputs: Mapping[str, int]) -> onnx.ModelProto:
    shape, value = graph.shape, helper.make_tensor_value_info
    kind = TensorProto.FLOAT16 if graph.precision == "fp16" else TensorProto.FLOAT
    sides: list[str | int | None] = ["batch", shape.kv_heads, "past", shape.head_dim]
    names = [f"{index}.{part}" for index in range(shape.layers) for part in ("key", "value")]
    past = [value(f"past_key_values.{name}", kind, sides) for name in names]
    present = [value(f"present.{name}", kind, [*sides[:2], "total", sides[3]]) for name in names]
    heads = [value(name, TensorProto.FLOAT, ["batch", "new", count]) for name, count in outputs.items()]
    ids = value("input_ids", TensorProto.INT64, ["batch", "new"])
    constants = list(graph.constants.values())
    body = helper.make_graph(graph.nodes, "guard", [ids, *past], [*heads, *present], constants)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=11, producer_name="riskline")
