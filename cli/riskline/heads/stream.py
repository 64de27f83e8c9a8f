"""Heads on every token: one prefill of a window gives the scores of all its prefixes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from riskline.errors import RecordError
from riskline.manifest import Manifest, Outputs
from riskline.records import Encoded, HeadRun, Label, Logits, Request, Role, Scores
from riskline.window import Layout, row

if TYPE_CHECKING:
    from riskline.records import Floats, RawFloats

DECIMALS = 4
"""Scores are rounded before any decision, so that stored and fresh scores decide alike."""


def stream(manifest: Manifest, role: Role, encoded: Encoded) -> HeadRun:
    """Score every judged token: a window's rows, minus those that an earlier window already gave.

    Raises:
        RecordError: the model gave NaN or infinity, or the context leaves no room.
    """
    outputs = manifest.roles[role]
    names = (outputs.risk, outputs.category) if outputs.category else (outputs.risk,)
    layout = Layout.of(encoded, manifest.window, manifest.overlap)
    parts: list[Logits] = []
    for start, own, end in layout.windows(len(encoded.judged)):
        logits = yield Request(row(encoded, start, end), names)
        first, last = len(encoded.before) + own - start, len(encoded.before) + end - start
        parts.append({name: values[first:last] for name, values in logits.items()})
    joined = parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in names}
    return scores(outputs, role, encoded, joined, len(parts))


def scores(outputs: Outputs, role: Role, encoded: Encoded, logits: Logits, windows: int) -> Scores:
    """Return the rounded probabilities of judged tokens' logits, each (tokens, classes)."""
    if not all(np.isfinite(values).all() for values in logits.values()):
        raise RecordError("non-finite", "the model gave NaN or infinity for this text; expected finite scores")
    risk = np.round(_softmax(logits[outputs.risk]), DECIMALS)
    columns = {label: risk[:, index] for index, label in enumerate(outputs.labels)}
    return Scores(
        safe=columns[Label.safe],
        controversial=columns.get(Label.controversial),
        unsafe=columns[Label.unsafe],
        kinds=np.round(_kinds(outputs, logits, 1 - columns[Label.safe]), DECIMALS),
        categories=outputs.categories,
        offsets=encoded.offsets,
        role=role,
        trajectory=outputs.trajectory,
        windows=windows,
        context_truncated=encoded.context_truncated,
    )


def _kinds(outputs: Outputs, logits: Logits, risk: Floats) -> Floats:
    """P(risky and of this kind), (tokens, categories): risk x softmax for a single-label head, else the sigmoid."""
    if outputs.category is None:
        return np.zeros((len(risk), 0))
    values = logits[outputs.category]
    if outputs.category_scores == "single":
        return risk[:, None] * _softmax(values)
    return np.asarray(1 / (1 + np.exp(-values.astype(np.float64))))


def _softmax(logits: RawFloats) -> Floats:
    values = logits.astype(np.float64)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
