"""riskline-mini in PyTorch: the reference that the shipped graph is held against.

The layers are those of BERT with a causal mask, so that the weights of all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and
Gurevych 2019) can be their start.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's dimensions."""

    vocabulary: int = 32_000
    hidden: int = 384
    layers: int = 6
    heads: int = 12
    inner: int = 1536
    positions: int = 256
    classes: tuple[int, ...] = (3, 9, 3, 8)  # prompt risk, prompt category, response risk, response category
    meaning: int = 768  # what meanings.py finds of a text

    @property
    def head_dim(self) -> int:
        """The width of one attention head."""
        return self.hidden // self.heads


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention, (batch, heads, width, head_dim).

    On a CPU the way back through torch's fused attention takes a third of a step, through plain products a twentieth.
    """
    if not (q.requires_grad and q.device.type == "cpu"):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    width = q.shape[2]
    scores = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
    scores = scores + torch.full((width, width), float("-inf"), dtype=scores.dtype).triu(1)
    return scores.softmax(-1).to(v.dtype) @ v


class Layer(nn.Module):
    """Causal attention and a feed-forward, each followed by its norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.mixer()
        self.norm1 = nn.LayerNorm(shape.hidden, EPSILON)
        self.up = nn.Linear(shape.hidden, shape.inner)
        self.down = nn.Linear(shape.inner, shape.hidden)
        self.norm2 = nn.LayerNorm(shape.hidden, EPSILON)

    def mixer(self) -> None:
        """Make what `mixed` needs."""
        self.qkv = nn.Linear(self.shape.hidden, 3 * self.shape.hidden)
        self.out = nn.Linear(self.shape.hidden, self.shape.hidden)

    def mixed(self, x: Tensor) -> Tensor:
        """Return what every token takes from those up to it, (batch, width, hidden)."""
        batch, width, hidden = x.shape
        qkv = self.qkv(x).view(batch, width, 3, self.shape.heads, self.shape.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = attended(q, k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, width, hidden))
        return out

    def forward(self, x: Tensor, dropout: float) -> Tensor:
        x = self.norm1(x + functional.dropout(self.mixed(x), dropout, self.training))
        inner = self.down(functional.gelu(self.up(x)))
        return self.norm2(x + functional.dropout(inner, dropout, self.training))


class Mini(nn.Module):
    """Token ids (batch, width) to logits (batch, width, 23): the four heads side by side."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.position = nn.Embedding(shape.positions, shape.hidden)
        self.norm = nn.LayerNorm(shape.hidden, EPSILON)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.head = nn.Linear(shape.hidden, sum(shape.classes))
        self.meaning = nn.Linear(shape.hidden, shape.meaning)  # for training alone: no graph has it
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        nn.init.zeros_(self.meaning.bias)

    def embedded(self, ids: Tensor) -> Tensor:
        """Return what the first layer's norm reads, (batch, width, hidden)."""
        out: Tensor = self.embedding(ids) + self.position.weight[: ids.shape[1]]
        return out

    def hidden(self, ids: Tensor, dropout: float = 0.0) -> Tensor:
        """Return the last layer's states, (batch, width, hidden)."""
        x: Tensor = self.norm(self.embedded(ids))
        for layer in self.layers:
            x = layer(x, dropout)
        return x

    def forward(self, ids: Tensor, dropout: float = 0.0) -> Tensor:
        logits: Tensor = self.head(self.hidden(ids, dropout).float())
        return logits
