"""riskline-mini in PyTorch: the reference that the shipped graph is held against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's dimensions."""

    vocabulary: int = 32_000
    hidden: int = 256
    layers: int = 6
    heads: int = 4
    inner: int = 640
    theta: float = 10_000.0
    classes: tuple[int, ...] = (3, 9, 3, 8)  # prompt risk, prompt category, response risk, response category

    @property
    def head_dim(self) -> int:
        """The width of one attention head."""
        return self.hidden // self.heads


def rotate(values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return queries or keys (batch, heads, width, head_dim) turned by their positions, halves paired."""
    first, second = values.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Layer(nn.Module):
    """Pre-norm attention and a gated feed-forward."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.norm1, self.norm2 = nn.RMSNorm(shape.hidden, 1e-6), nn.RMSNorm(shape.hidden, 1e-6)
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden, bias=False)
        self.out = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.up = nn.Linear(shape.hidden, 2 * shape.inner, bias=False)  # gate, then value
        self.down = nn.Linear(shape.inner, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, dropout: float) -> Tensor:
        batch, width, hidden = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, width, 3, self.shape.heads, self.shape.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + functional.dropout(
            self.out(mixed.transpose(1, 2).reshape(batch, width, hidden)), dropout, self.training
        )
        gate, value = self.up(self.norm2(x)).chunk(2, dim=-1)
        return x + functional.dropout(self.down(functional.silu(gate) * value), dropout, self.training)


class Mini(nn.Module):
    """Token ids (batch, width) to logits (batch, width, 23): the four heads side by side."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, 1e-6)
        self.head = nn.Linear(shape.hidden, sum(shape.classes))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02 if isinstance(module, nn.Linear) else 0.05)
        for layer in self.layers:
            for last in (layer.out, layer.down):
                nn.init.normal_(last.weight, std=0.02 / (2 * shape.layers) ** 0.5)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor, dropout: float = 0.0) -> Tensor:
        half = self.shape.head_dim // 2
        frequency = self.shape.theta ** (-torch.arange(half, device=ids.device) / half)
        angles = torch.arange(ids.shape[1], device=ids.device)[:, None] * frequency
        x = self.embedding(ids)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin, dropout)
        return self.head(self.norm(x).float())
