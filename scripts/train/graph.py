"""riskline-mini as an ONNX graph, assembled by hand: one graph for prefill and step, standard operators only.

Weights are kept as 8-bit integers with a scale for each output and computed in single precision: ONNX Runtime widens
constants once, when it loads the graph. Integer products were tried (MatMulNBits, and a scale a row with
MatMulInteger). They are faster, but a float that rounds to the other side in a step than in a prefill moved
probabilities by more than the law allows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx
import torch
from model import EPSILON, Shape
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Precision = Literal["fp32", "int8"]
HEADS = ("prompt_risk", "prompt_category", "response_risk", "response_category")
Weights = dict[str, torch.Tensor]


@dataclass(slots=True)
class Graph:
    """Nodes and constants as they are added; every method returns the name of what it made."""

    shape: Shape
    precision: Precision
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    count: int = 0

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        if all(existing.name != name for existing in self.constants):
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

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
        """X (…, in) times weight (out, in) transposed, plus bias (out,)."""
        matrix = weights[f"{name}.weight"].numpy().astype(np.float32)
        if self.precision == "fp32":
            product = self.op("MatMul", x, self.constant(f"{name}.weight", matrix.T))
        else:
            integers, scale = eight_bits(matrix)  # (out, in), (out, 1)
            stored = self.constant(f"{name}.int8", integers.T)
            wide = self.op("Cast", stored, to=TensorProto.FLOAT)
            product = self.op("MatMul", x, self.op("Mul", wide, self.constant(f"{name}.scale", scale.T)))
        return self.op("Add", product, self.constant(f"{name}.bias", weights[f"{name}.bias"].numpy()))


def assemble(weights: Weights, shape: Shape, precision: Precision) -> onnx.ModelProto:
    """Return the graph of a state dict."""
    graph = Graph(shape, precision)
    x = graph.op("Add", _embed(graph, weights["embedding.weight"]), _positions(graph, weights["position.weight"]))
    x = graph.norm(x, "norm", weights)
    for index in range(shape.layers):
        x = _layer(graph, weights, index, x)
    _heads(graph, weights, x)
    return _model(graph)


def _embed(graph: Graph, table: torch.Tensor) -> str:
    """Rows of the embedding are kept as int8 with a scale each, in every precision but fp32."""
    values = table.numpy().astype(np.float32)
    if graph.precision == "fp32":
        return graph.op("Gather", graph.constant("embedding", values), "input_ids")
    integers, scale = eight_bits(values)
    rows = graph.op("Gather", graph.constant("embedding.int8", integers), "input_ids")
    scales = graph.op("Gather", graph.constant("embedding.scale", scale), "input_ids")
    return graph.op("Mul", graph.op("Cast", rows, to=TensorProto.FLOAT), scales)


def eight_bits(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return rows as 8-bit integers and the scale of each, (rows, 1)."""
    scale = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / 127, 1e-12).astype(np.float32)
    return np.clip(np.round(rows / scale), -127, 127).astype(np.int8), scale


def _positions(graph: Graph, table: torch.Tensor) -> str:
    """The embeddings of the new tokens' positions, (new, hidden): they follow the past."""
    past = graph.op("Shape", "past_key_values.0.key", start=2, end=3)
    total = graph.op("Add", past, graph.op("Shape", "input_ids", start=1, end=2))
    return graph.op("Slice", graph.constant("position", table.numpy()), past, total)


def _layer(graph: Graph, weights: Weights, index: int, x: str) -> str:
    name, heads = f"layers.{index}", graph.shape.heads
    query, key, value = (f"{part}_{index}" for part in ("query", "key", "value"))
    graph.op("Split", graph.linear(x, f"{name}.qkv", weights), outputs=(query, key, value), axis=-1, num_outputs=3)
    past = [f"past_key_values.{index}.{kind}" for kind in ("key", "value")]
    mixed = graph.op(
        "Attention", query, key, value, "", *past,
        outputs=(f"mixed_{index}", f"present.{index}.key", f"present.{index}.value"),
        is_causal=1, q_num_heads=heads, kv_num_heads=heads,
    )  # fmt: skip
    x = graph.norm(graph.op("Add", x, graph.linear(mixed, f"{name}.out", weights)), f"{name}.norm1", weights)
    inner = graph.op("Gelu", graph.linear(x, f"{name}.up", weights))
    return graph.norm(graph.op("Add", x, graph.linear(inner, f"{name}.down", weights)), f"{name}.norm2", weights)


def _heads(graph: Graph, weights: Weights, x: str) -> None:
    """All heads as one float product: they are small, and what they say is the product's whole purpose."""
    logits = graph.op("MatMul", x, graph.constant("head", weights["head.weight"].numpy().T))
    biased = graph.op("Add", logits, graph.constant("head.bias", weights["head.bias"].numpy()))
    graph.op(
        "Split", biased, graph.constant("classes", np.array(graph.shape.classes, np.int64)), outputs=HEADS, axis=-1
    )


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
