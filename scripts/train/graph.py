"""riskline-mini as ONNX graphs, assembled by hand: one graph for prefill and step, standard operators only.

Both graphs keep the same integers, in one file beside them. `int8` multiplies integers: a layer's input is rounded to
8 bits with a scale for each token, so that no token's score depends on what shares its run. `fp32` widens the weights
when it is loaded, for providers without integer products.

A cached step must say what a prefill says (to 1e-3), and a value that falls to the other side of a rounding boundary
moves a probability by more. So `int8` computes every value that is rounded in the same order whatever the number of
tokens: integer sums are exact, and attention is written out. A product of one row alone would be summed in another
order than one of several, so the query has a row to spare; and a softmax over a longer, masked row in another than
over the row itself, so its sum is one more column of the product with the values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx
import torch
from model import EPSILON, Shape
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

Precision = Literal["int8", "fp32"]
HEADS = ("prompt_risk", "prompt_category", "response_risk", "response_category")
SHARED = "weights.bin"
"""The file of the constants that graphs share."""
LARGE = 1024
"""Bytes from which on a constant is shared."""
ALIGNED = 64
EMBEDDING_LEVELS = 127
WEIGHT_LEVELS = 63
"""Seven bits: without VNNI, x86 adds two products of 8 bits by 8 in 16, which 8-bit weights overflow."""
ACTIVATION_LEVELS = 127
HIDDEN = -1e4
"""Added to the scores of tokens that are not to be seen."""
FAINT = -60.0
"""The least exponent of a token's share: beside the largest, which is one, its power is lost in rounding.

Much smaller powers would be denormal numbers, for which some processors take many times as long.
"""
Weights = dict[str, torch.Tensor]


@dataclass(slots=True)
class Graph:
    """Nodes and constants as they are added; every method returns the name of what it made.

    States are (batch · new, hidden): a token a row, so that a scale for each row is a scale for each token.
    """

    shape: Shape
    precision: Precision
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    count: int = 0

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        if all(existing.name != name for existing in self.constants):
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant("integers" + "".join(f"_{value}" for value in values), np.array(values, np.int64))

    def number(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, np.float32))

    def op(self, kind: str, *inputs: str, outputs: int | tuple[str, ...] = 1, **attributes: object) -> str:
        self.count += 1
        names = outputs if isinstance(outputs, tuple) else tuple(f"{kind}_{self.count}_{i}" for i in range(outputs))
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0]

    def norm(self, x: str, name: str, weights: Weights) -> str:
        scale, bias = (
            self.constant(f"{name}.{part}", weights[f"{name}.{part}"].numpy()) for part in ("weight", "bias")
        )
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=EPSILON)

    def linear(self, x: str, name: str, weights: Weights) -> str:
        """X (rows, in) times weight (out, in) transposed, plus bias (out,)."""
        matrix, scale = rounded(weights[f"{name}.weight"].numpy().astype(np.float32), WEIGHT_LEVELS)
        stored, scale_of = self.constant(f"{name}.int8", matrix.T), self.constant(f"{name}.scale", scale.T)
        if self.precision == "fp32":
            product = self.op("MatMul", x, self.op("Mul", self.op("Cast", stored, to=TensorProto.FLOAT), scale_of))
        else:
            # A norm makes a whole row of one NaN; what the others read may have one among numbers.
            product = self.op("Mul", self._product(x, stored, kept=name.endswith(("out", "down"))), scale_of)
        return self.op("Add", product, self.constant(f"{name}.bias", weights[f"{name}.bias"].numpy()))

    def _product(self, x: str, stored: str, *, kept: bool) -> str:
        """X (rows, in), rounded with a scale for each row, times integers (in, out), in units of the integers.

        Rounding makes a number of a NaN; where one is `kept`, the row's scale is NaN.
        """
        largest = self.op("ReduceMax", self.op("Abs", x), self.integers(-1), keepdims=0)
        step = self.op("Mul", largest, self.number("activation_level", 1 / ACTIVATION_LEVELS))
        step = self.op("Max", step, self.number("least", 1e-12))  # a row of zeros has no largest
        if kept:
            nothing = self.op("Mul", self.op("ReduceSum", x, self.integers(-1), keepdims=0), self.number("zero", 0.0))
            step = self.op("Add", step, nothing)
        middle = self.constant("middle", np.array(128, np.uint8))
        middles = self.op("Expand", middle, self.op("Shape", step))
        whole = self.op("MatMulInteger", self.op("QuantizeLinear", x, step, middles, axis=0), stored, middle)
        return self.op(
            "Mul", self.op("Cast", whole, to=TensorProto.FLOAT), self.op("Unsqueeze", step, self.integers(1))
        )


def shipped(weights: Weights) -> Weights:
    """Return the weights as a graph has them: rounded to its integers, and wide again."""
    out = dict(weights)
    for name, value in weights.items():
        levels = EMBEDDING_LEVELS if name == "embedding.weight" else WEIGHT_LEVELS
        if value.dim() == 2 and name.startswith(("embedding", "layers")):
            integers, scale = rounded(value.float().numpy(), levels)
            out[name] = torch.from_numpy(integers * scale)
    return out


def shared(models: Iterable[onnx.ModelProto]) -> bytes:
    """Move the large constants of graphs out of them and return the file that they then refer to, each once."""
    data, places = bytearray(), dict[str, tuple[int, bytes]]()
    for model in models:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) < LARGE:
                continue
            if tensor.name not in places:
                data += bytes(-len(data) % ALIGNED)
                places[tensor.name] = (len(data), tensor.raw_data)
                data += tensor.raw_data
            start, values = places[tensor.name]
            if values != tensor.raw_data:
                raise ValueError(f"the graphs differ in `{tensor.name}`")
            set_external_data(tensor, SHARED, start, len(values))
            tensor.ClearField("raw_data")
    return bytes(data)


def assemble(weights: Weights, shape: Shape, precision: Precision) -> onnx.ModelProto:
    """Return the graph of a state dict, its constants within it."""
    graph = Graph(shape, precision)
    x = graph.op("Add", _embed(graph, weights["embedding.weight"]), _positions(graph, weights["position.weight"]))
    x = graph.op("Reshape", x, graph.integers(-1, shape.hidden))
    x = graph.norm(x, "norm", weights)
    mask = _mask(graph) if precision == "int8" else ""
    for index in range(shape.layers):
        x = _layer(graph, weights, index, x, mask)
    _heads(graph, weights, x)
    return _model(graph)


def _embed(graph: Graph, table: torch.Tensor) -> str:
    """Rows of the embedding are kept as int8 with a scale each."""
    integers, scale = rounded(table.numpy().astype(np.float32), EMBEDDING_LEVELS)
    rows = graph.op("Gather", graph.constant("embedding.int8", integers), "input_ids")
    scales = graph.op("Gather", graph.constant("embedding.scale", scale), "input_ids")
    return graph.op("Mul", graph.op("Cast", rows, to=TensorProto.FLOAT), scales)


def rounded(rows: NDArray[np.float32], levels: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return rows as integers of at most `levels` either way, and the scale of each, (rows, 1)."""
    scale = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / levels, 1e-12).astype(np.float32)
    return np.clip(np.round(rows / scale), -levels, levels).astype(np.int8), scale


def _counts(graph: Graph) -> tuple[str, str]:
    """How many tokens went before, and how many there are with the new ones; each (1,)."""
    past = graph.op("Shape", "past_key_values.0.key", start=2, end=3)
    return past, graph.op("Add", past, graph.op("Shape", "input_ids", start=1, end=2))


def _positions(graph: Graph, table: torch.Tensor) -> str:
    """The embeddings of the new tokens' positions, (new, hidden): they follow the past."""
    past, total = _counts(graph)
    return graph.op("Slice", graph.constant("position", table.numpy()), past, total)


def _mask(graph: Graph) -> str:
    """What is added to scores, (new + 1, total): a token sees itself and those before it."""
    past, total = _counts(graph)
    places = graph.constant("places", np.arange(graph.shape.positions + 1))
    own = graph.op("Slice", places, past, graph.op("Add", total, graph.integers(1)))
    seen = graph.op("Slice", places, graph.integers(0), total)
    later = graph.op("Greater", seen, graph.op("Unsqueeze", own, graph.integers(1)))
    return graph.op("Where", later, graph.number("hidden", HIDDEN), graph.number("zero", 0.0))


def _layer(graph: Graph, weights: Weights, index: int, x: str, mask: str) -> str:
    name, heads, width = f"layers.{index}", graph.shape.heads, graph.shape.head_dim
    qkv = graph.linear(x, f"{name}.qkv", weights)
    if graph.precision == "fp32":
        mixed = _fused(graph, index, qkv)
    else:
        place = graph.op("Concat", graph.op("Shape", "input_ids"), graph.integers(3 * heads, width), axis=0)
        rows = graph.op("Transpose", graph.op("Reshape", qkv, place), perm=[0, 2, 1, 3])
        mixed = _attention(graph, index, rows, mask)
    mixed = graph.op("Reshape", mixed, graph.integers(-1, graph.shape.hidden))
    x = graph.norm(graph.op("Add", x, graph.linear(mixed, f"{name}.out", weights)), f"{name}.norm1", weights)
    inner = graph.op("Gelu", graph.linear(x, f"{name}.up", weights))
    return graph.norm(graph.op("Add", x, graph.linear(inner, f"{name}.down", weights)), f"{name}.norm2", weights)


def _fused(graph: Graph, index: int, qkv: str) -> str:
    """The provider's own attention, (batch, new, hidden)."""
    place = graph.op("Concat", graph.op("Shape", "input_ids"), graph.integers(3 * graph.shape.hidden), axis=0)
    names = tuple(f"{part}_{index}" for part in ("query", "key", "value"))
    graph.op("Split", graph.op("Reshape", qkv, place), outputs=names, axis=-1, num_outputs=3)
    past = [f"past_key_values.{index}.{kind}" for kind in ("key", "value")]
    return graph.op(
        "Attention", *names, "", *past,
        outputs=(f"mixed_{index}", f"present.{index}.key", f"present.{index}.value"),
        is_causal=1, q_num_heads=graph.shape.heads, kv_num_heads=graph.shape.heads,
    )  # fmt: skip


def _attention(graph: Graph, index: int, rows: str, mask: str) -> str:
    """Attention in the same order of sums whatever the number of tokens, (batch, new, heads, head_dim).

    `rows` are queries, keys and values, (batch, 3 · heads, new, head_dim).
    """
    heads, width = graph.shape.heads, graph.shape.head_dim
    names = tuple(f"{part}_{index}" for part in ("query", "key", "value"))
    graph.op("Split", rows, graph.integers(heads, heads, heads), outputs=names, axis=1)
    whole = {
        kind: graph.op("Concat", f"past_key_values.{index}.{kind}", name, outputs=(f"present.{index}.{kind}",), axis=2)
        for kind, name in zip(("key", "value"), names[1:], strict=True)
    }
    query = graph.op("Mul", names[0], graph.number("sharpness", width**-0.5))
    query = graph.op("Pad", query, graph.integers(0, 0, 0, 0, 0, 0, 1, 0))
    scores = graph.op("MatMul", query, graph.op("Transpose", whole["key"], perm=[0, 1, 3, 2]))
    scores = graph.op("Add", scores, mask)  # (batch, heads, new + 1, total)
    below = graph.op("Sub", scores, graph.op("ReduceMax", scores, graph.integers(-1), keepdims=1))
    powers = graph.op("Exp", graph.op("Max", below, graph.number("faint", FAINT)))
    counted = graph.op("Pad", whole["value"], graph.integers(0, 0, 0, 0, 0, 0, 0, 1), graph.number("one", 1.0))
    sums = graph.op("MatMul", powers, counted)  # (batch, heads, new + 1, head_dim + 1)
    sums = graph.op("Slice", sums, graph.integers(0), graph.integers(-1), graph.integers(2))
    parts = (f"sum_{index}", f"count_{index}")
    graph.op("Split", sums, graph.integers(width, 1), outputs=parts, axis=-1)
    return graph.op("Transpose", graph.op("Div", *parts), perm=[0, 2, 1, 3])


def _heads(graph: Graph, weights: Weights, x: str) -> None:
    """All heads as one float product: they are small, and what they say is the product's whole purpose."""
    logits = graph.op("MatMul", x, graph.constant("head", weights["head.weight"].numpy().T))
    biased = graph.op("Add", logits, graph.constant("head.bias", weights["head.bias"].numpy()))
    classes = graph.shape.classes
    place = graph.op("Concat", graph.op("Shape", "input_ids"), graph.integers(sum(classes)), axis=0)
    graph.op("Split", graph.op("Reshape", biased, place), graph.integers(*classes), outputs=HEADS, axis=-1)


def _model(graph: Graph) -> onnx.ModelProto:
    shape, value = graph.shape, helper.make_tensor_value_info
    past, present = [], []
    for index in range(shape.layers):
        for kind in ("key", "value"):
            past.append(
                value(
                    f"past_key_values.{index}.{kind}", TensorProto.FLOAT, ["batch", shape.heads, "past", shape.head_dim]
                )
            )
            present.append(
                value(f"present.{index}.{kind}", TensorProto.FLOAT, ["batch", shape.heads, "total", shape.head_dim])
            )
    heads = [
        value(name, TensorProto.FLOAT, ["batch", "new", size]) for name, size in zip(HEADS, shape.classes, strict=True)
    ]
    ids = value("input_ids", TensorProto.INT64, ["batch", "new"])
    body = helper.make_graph(graph.nodes, "riskline-mini", [ids, *past], [*heads, *present], graph.constants)
    # Opset 23 has attention, the norm and GELU as standard operators: no provider's own are needed.
    opsets = [helper.make_opsetid("", 23)]
    return helper.make_model(body, opset_imports=opsets, ir_version=11, producer_name="riskline")
