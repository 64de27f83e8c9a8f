"""Heads on every token: one prefill of a window gives the scores of all its prefixes.

A head that was trained at one position only is read there and nowhere else: at the first token after the text, where
the guard's template closes the turn.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from riskline.errors import UNREAD, RecordError
from riskline.manifest import Outputs
from riskline.records import Encoded, HeadRun, Label, Logits, Request, Role, Scores
from riskline.window import Layout, row

if TYPE_CHECKING:
    from riskline.heads import Task
    from riskline.records import Floats, Integers, RawFloats

PROBED = 5
"""Judged tokens from one probe of a trajectory to the next, as in STAR."""
DECIMALS = 4
"""Scores are rounded before any decision, so that stored and fresh scores decide alike."""


def stream(task: Task) -> HeadRun:
    """Score every judged token: a window's rows, minus those that an earlier window already gave.

    Raises:
        RecordError: the model gave NaN or infinity, the context leaves no room, or no token is to be judged.
    """
    outputs, encoded = task.outputs, task.encoded
    if outputs.at != "text":
        return (yield from _once(task))
    names = names_of(outputs)
    if not len(encoded.judged):
        raise RecordError(UNREAD, "the text has no character that this guard reads")
    layout = Layout.of(encoded, task.manifest.window, task.manifest.overlap)
    parts: list[Logits] = []
    closing: Logits = {}
    for start, own, end in layout.windows(len(encoded.judged)):
        logits = yield Request(row(encoded, start, end), names)
        first, last = len(encoded.before) + own - start, len(encoded.before) + end - start
        parts.append({name: values[first:last] for name, values in logits.items()})
        closing = {name: values[last:] for name, values in logits.items()}
    joined = parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in names}
    after = closing if len(encoded.after) else None
    return scores(outputs, task.role, encoded, joined, len(parts), after, end=task.manifest.template.end)


def _once(task: Task) -> HeadRun:
    """Score the text once a window, at the position after it or for the whole row; the worst window counts."""
    outputs, encoded = task.outputs, task.encoded
    layout = Layout.of(encoded, task.manifest.window, task.manifest.overlap)
    windows = list(layout.windows(len(encoded.judged)))
    if task.probe and outputs.trajectory and len(windows) == 1:
        return (yield from _probed(task))
    found: list[Scores] = []
    for start, _, end in windows:
        one = yield from _read(task, start, end)
        found.append(replace(scores(outputs, task.role, encoded, one, 1), trajectory=False))
    return worst(found)


def _read(task: Task, start: int, end: int) -> Generator[Request, Logits, Logits]:
    """The logits of the one position where a window over judged tokens `[start, end)` is read."""
    outputs, encoded = task.outputs, task.encoded
    logits = yield Request(row(encoded, start, end), names_of(outputs))
    at = 0 if outputs.at == "whole" else len(encoded.before) + end - start
    return {name: values[at : at + 1] for name, values in logits.items()}


def _probed(task: Task) -> HeadRun:
    """Score beginnings of the text, each with its turn closed, and last the whole; a row for each."""
    outputs, encoded = task.outputs, task.encoded
    found: list[Logits] = []
    ends = [*range(PROBED, len(encoded.judged), PROBED), len(encoded.judged)]
    for end in ends[:-1]:
        # The position that is read is the first after the text, so nothing behind it is needed.
        ids = row(encoded, 0, end)[: len(encoded.before) + end + 1]
        found.append((yield Request(ids, names_of(outputs), last=True)))
    # The whole is asked as it is without a trajectory, so that the verdict is the same number.
    found.append((yield from _read(task, 0, ends[-1])))
    joined = {name: np.concatenate([one[name] for one in found]) for name in names_of(outputs)}
    stretches = replace(encoded, offsets=stretched(encoded, ends))
    return replace(scores(outputs, task.role, stretches, joined, 1), tokens=len(encoded.judged))


def stretched(encoded: Encoded, ends: Sequence[int]) -> Integers:
    """Return the spans of the stretches of judged tokens that end before `ends`, (stretches, 2)."""
    starts = [0, *ends[:-1]]
    spans = [(encoded.offsets[a, 0], encoded.offsets[b - 1, 1]) for a, b in zip(starts, ends, strict=True)]
    return np.array(spans, np.int64).reshape(-1, 2)


def worst(found: list[Scores]) -> Scores:
    """Return the scores of the riskiest window, counted as all of them."""
    one = min(found, key=lambda scores: float(scores.safe[-1]))
    return replace(one, windows=len(found)) if len(found) > 1 else one


def names_of(outputs: Outputs) -> tuple[str, ...]:
    """Return the graph's outputs that a role needs."""
    return tuple(dict.fromkeys(name for name in (outputs.risk, outputs.category) if name))


def scores(
    outputs: Outputs,
    role: Role,
    encoded: Encoded,
    logits: Logits,
    windows: int,
    closing: Logits | None = None,
    end: str | None = None,
) -> Scores:
    """Return the rounded probabilities of judged tokens' logits, each (tokens, classes).

    `closing` are the logits of what the template closes the turn with. Where that is its `end`, the first of them is
    the text's last token instead, and shares the character before it.
    """
    offsets = encoded.offsets
    if end and closing:
        logits = {name: np.concatenate((values, closing[name][:1])) for name, values in logits.items()}
        start, stop = offsets[-1].tolist()
        offsets, closing = np.concatenate((offsets, [[max(stop - 1, start), stop]])), None
    columns = _labels(outputs, logits)
    last = _labels(outputs, closing) if closing else None
    safe = columns[Label.safe]
    return Scores(
        safe=safe,
        controversial=columns.get(Label.controversial),
        unsafe=columns[Label.unsafe],
        kinds=np.round(_kinds(outputs, logits, 1 - safe), DECIMALS),
        categories=outputs.categories,
        offsets=offsets,
        role=role,
        trajectory=outputs.trajectory,
        windows=windows,
        context_truncated=encoded.context_truncated,
        closing=np.stack([last.get(label, np.zeros(len(last[Label.safe]))) for label in Label], 1) if last else None,
    )


def _labels(outputs: Outputs, logits: Logits) -> dict[Label, Floats]:
    """P(label) of every position, rounded; logits of one label add up."""
    if not all(np.isfinite(values).all() for values in logits.values()):
        raise RecordError("non-finite", "the model gave NaN or infinity for this text; expected finite scores")
    if outputs.label_scores == "highest":
        unsafe = np.round(sigmoid(logits[outputs.risk]).max(axis=1), DECIMALS)
        return {Label.safe: np.round(1 - unsafe, DECIMALS), Label.unsafe: unsafe}
    risk = softmax(logits[outputs.risk])
    if len(set(outputs.labels)) == len(outputs.labels):
        rounded = np.round(risk, DECIMALS)
        return {label: rounded[:, index] for index, label in enumerate(outputs.labels)}
    means = {label: [i for i, one in enumerate(outputs.labels) if one is label] for label in set(outputs.labels)}
    return {label: np.round(risk[:, columns].sum(axis=1), DECIMALS) for label, columns in means.items()}


def _kinds(outputs: Outputs, logits: Logits, risk: Floats) -> Floats:
    """P(risky and of this kind), (tokens, categories): risk x softmax for a single-label head, else the sigmoid."""
    if outputs.category is None:
        return np.zeros((len(risk), 0))
    values = logits[outputs.category]
    if outputs.category_scores == "single":
        return risk[:, None] * softmax(values)
    return sigmoid(values)


def sigmoid(logits: RawFloats) -> Floats:
    """Return the independent probabilities of logits."""
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))


def softmax(logits: RawFloats) -> Floats:
    """Return the probabilities of logits along the last axis."""
    values = logits.astype(np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
