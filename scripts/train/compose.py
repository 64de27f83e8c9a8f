"""Drawn rows become training examples: ids, and for every position a label and how much it counts."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpus import CATEGORIES, Row
from lexicon import Lexicon
from numpy.typing import NDArray
from obfuscate import obfuscate
from tokenizers import Tokenizer
from torch import Tensor

RESPONSE_CATEGORIES = 8
LONGEST = 2400
"""Characters of a row that are read; no window holds more."""
RISING = 8
"""How steeply a harmful text's label counts towards its end: what begins like harmless ones is not yet harmful."""
END = "\n"
"""What follows every judged text, so that its last word has a token after it."""
GAPS = (" ", "\n", "\n\n", "\n\n", ". ")
OPENINGS = Path(__file__).parent / "synthesis" / "openings.toml"


@dataclass(frozen=True, slots=True)
class Part:
    """The tokens of one text, their labels and weights; each (tokens,)."""

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Example:
    """One training row: ids, and for every position a label, its weight and the row's category weight."""

    ids: NDArray[np.int64]  # (width,)
    labels: NDArray[np.int64]  # (width,)
    weights: NDArray[np.float32]  # (width,)
    kinds: NDArray[np.float32]  # (categories,), zeros where unknown
    response: bool


class Composer:
    """Turns drawn rows into examples: plain, among harmless texts, or after earlier turns."""

    def __init__(
        self, rows: list[Row], tokenizer: Tokenizer, chances: list[float], config: dict[str, Any], seed: int
    ) -> None:
        self.rows, self.tokenizer, self.config = rows, tokenizer, config
        self.tags = {name: int(tokenizer.token_to_id(f"<|{name}|>") or 0) for name in ("system", "prompt", "response")}
        self.cumulative = np.cumsum(chances)
        self.rng = random.Random(seed)
        self.end = np.array(self._encode(END)[0], np.int64)
        self.lexicon = Lexicon()
        self.openings: dict[str, Any] = tomllib.loads(OPENINGS.read_text(encoding="utf-8"))
        self.room = config["width"] // 4
        """Positions of a row that earlier turns may take."""

    def draw(self) -> Row:
        """Return a row by its chance."""
        place = int(np.searchsorted(self.cumulative, self.rng.random() * self.cumulative[-1]))
        return self.rows[min(place, len(self.rows) - 1)]

    def example(self) -> Example | None:
        """Return an example, or None where the row left nothing to learn."""
        row = self.draw()
        before = self._context(row)
        room = self.config["width"] - len(before) - len(self.end)
        part = self._judged(row, room)
        if not len(part.ids) or room < 8:
            return None
        if len(part.ids) > room:
            part = self._cut(row, part, room)
        part = self._ended(part)
        kinds = np.zeros(len(CATEGORIES), np.float32)
        known = [c for c in row.categories if row.role == "prompt" or c < RESPONSE_CATEGORIES]
        if row.label and known:
            kinds[known] = 1 / len(known)
        pad = np.zeros(len(before), np.int64)
        return Example(
            np.concatenate((before, part.ids)),
            np.concatenate((pad, part.labels)),
            np.concatenate((pad.astype(np.float32), part.weights)),
            kinds,
            row.role == "response",
        )

    def _ended(self, part: Part) -> Part:
        """Add the end, which says what the last token says; a fifth of the text's weight is its."""
        if not len(self.end):  # a vocabulary of words alone
            return part
        label = np.full(len(self.end), part.labels[-1])
        weight = np.full(len(self.end), 0.2 * part.weights.sum() / len(self.end), np.float32)
        return _joined([Part(part.ids, part.labels, part.weights * np.float32(0.8)), Part(self.end, label, weight)])

    def _cut(self, row: Row, part: Part, room: int) -> Part:
        """Keep a window of a long text; a harmless one is harmless anywhere, as later windows will read it."""
        start = self.rng.randrange(len(part.ids) - room + 1) if row.label == 0 and self.rng.random() < 0.5 else 0
        kept = slice(start, start + room)
        weights = part.weights[kept]
        if row.label and not row.spans:  # what made it harmful may be in what was cut
            risky = part.labels[kept] > 0  # not what was put before it
            weights = np.where(risky, weights * np.float32(0.3 / max(weights[risky].sum(), 1e-9)), weights)
        return Part(part.ids[kept], part.labels[kept], weights)

    def _context(self, row: Row) -> NDArray[np.int64]:
        asked = [self.tags["prompt"], *words] if (words := self._words_before(row)) else []
        earlier: list[int] = []
        if self.rng.random() < self.config["context"]:
            other = self.draw()
            if self.rng.random() < 0.6:
                if self.rng.random() < 0.7:
                    earlier += self._turn("system", self.rng.choice(self.openings["system"]), 48)
                if self.rng.random() < 0.5:
                    user, answer = self.rng.choice(self.openings["turns"])
                    earlier += [*self._turn("prompt", user, 24), *self._turn("response", answer, 32)]
            elif self.rng.random() < 0.4:
                earlier += self._turn("system", other.text, 48) if other.label == 0 else []
            elif other.role == "response" and other.prompt:
                earlier += [*self._turn("prompt", other.prompt, 24), *self._turn("response", other.text, 32)]
        # What does not fit is left out, the oldest first, as in Guard.encode.
        before = [*earlier, *asked] if len(earlier) + len(asked) <= self.room else asked
        return np.array([*before, self.tags[row.role]], np.int64)

    def _turn(self, role: str, text: str, size: int) -> list[int]:
        """Return an earlier turn's tag and the first tokens of its text."""
        return [self.tags[role], *self._encode(text)[0][:size]]

    def _prompt(self) -> str:
        """Return a prompt of any label."""
        for _ in range(20):
            row = self.draw()
            if row.kind == "prompt":
                return row.text
        return ""

    def _words_before(self, row: Row) -> list[int]:
        """Return what a reply's prompt is read as: its own, another row's, or nothing."""
        if row.role != "response" or not row.prompt:
            return []
        if row.source in self.config["bound"]:
            return self._encode(row.prompt)[0][1 - self.room :]
        if self.rng.random() >= 0.75:
            return []
        return self._asked(self._prompt() if self.rng.random() < self.config["swapped"] else row.prompt)

    def _asked(self, prompt: str) -> list[int]:
        """Return a reply's prompt, at times among other words: what a reply says decides, whatever was asked."""
        ids = self._encode(prompt)[0]
        if self.rng.random() < self.config["disguised"]:
            size = self.rng.randrange(8, 64)
            if self.rng.random() < 0.5:
                others = self._encode(self.draw().text)[0][:size]
            else:
                most = self.tokenizer.get_vocab_size()
                others = [token for _ in range(size) if (token := self.rng.randrange(most)) not in self.tags.values()]
            ids = [*ids, *others] if self.rng.random() < 0.5 else [*others, *ids]
        return ids[1 - self.room :]

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoding = self.tokenizer.encode(text[:LONGEST], add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def _judged(self, row: Row, room: int) -> Part:
        part = self._text(row)
        if row.label == 0 and row.role == "response" and self.rng.random() < self.config["begun"]:
            # As a later window reads it: a refusal without its "I cannot" is still no harm.
            start = self.rng.randrange(len(part.ids) // 2 + 1)
            part = Part(part.ids[start:], part.labels[start:], part.weights[start:])
        if row.label == 0 and self.rng.random() < self.config["filled"]:
            return self._window(row, room)
        if len(part.ids) and row.role == "prompt" and not row.spans and self.rng.random() < self.config["opened"]:
            return _joined([self._opening(), part])
        if self.rng.random() >= self.config["join"] or len(part.ids) > 0.8 * room or not len(part.ids):
            return part
        # One neighbour, or as many as fill the window.
        left = room - len(part.ids) if self.rng.random() < 0.4 else self.rng.randrange(8, 80)
        share = self.rng.choice((0.0, 1.0, 1.0, self.rng.random()))
        first = self._harmless(row, int(left * share))
        after = self._harmless(row, int(left * (1 - share)))
        worst = int(part.labels[-1])
        if len(after.ids):
            # What follows a harmful text stays harmful; it counts less than the text itself.
            scale = np.float32(0.5 if worst else 1.0)
            after = Part(after.ids, np.full(len(after.ids), worst), after.weights * scale)
        return _joined([first, part, after])

    def _opening(self) -> Part:
        """Return a greeting or the like with a gap after it, harmless by itself."""
        texts = self.rng.sample(self.openings["greetings"], self.rng.choice((1, 1, 2)))
        ids = self._encode(" ".join(texts) + self.rng.choice((" ", "\n", "\n\n")))[0]
        return Part(
            np.array(ids, np.int64), np.zeros(len(ids), np.int64), np.full(len(ids), 0.3 / len(ids), np.float32)
        )

    def _window(self, row: Row, room: int) -> Part:
        """Return a whole window from somewhere in a long harmless text, as later windows will read it."""
        text = self._harmless(row, room + 64)
        start = self.rng.randrange(64) if len(text.ids) > room else 0
        kept = slice(start, start + room)
        weights = np.full(len(text.ids[kept]), 1 / max(len(text.ids[kept]), 1), np.float32)
        return Part(text.ids[kept], text.labels[kept], weights)

    def _harmless(self, row: Row, size: int) -> Part:
        """Return up to `size` tokens of safe texts of the row's role, with what stands between texts."""
        parts: list[Part] = []
        taken = 0
        for _ in range(40):
            if taken >= size:
                break
            other = self.draw()
            if other.label or other.role != row.role:
                continue
            ids = self._encode(other.text)[0][: size - taken]
            gap = self._encode(self.rng.choice(GAPS))[0]
            text = np.array([*gap, *ids, *gap][: size - taken], np.int64)
            parts.append(Part(text, np.zeros(len(text), np.int64), np.ones(len(text), np.float32)))
            taken += len(text)
        whole = _joined(parts)
        return Part(whole.ids, whole.labels, whole.weights * np.float32(0.7 / max(len(whole.ids), 1)))

    def _text(self, row: Row) -> Part:
        text = row.text[:LONGEST]
        if row.lang == "en" and not row.spans and self.rng.random() < self.config["translated"]:
            text = self.lexicon.translated(text, self.rng)
        elif not row.spans and self.rng.random() < self.config["noise"]:
            text = obfuscate(text, self.rng, harmful=row.label > 0)
        if not row.spans and self.rng.random() < self.config["marked"]:
            before, after = self.rng.choice(self.openings["marks"])
            text = f"{before}{text}{after}"
        ids, offsets = self._encode(text)
        count = len(ids)
        if not count:
            return _joined([])
        place = (np.arange(count) + 1) / count
        last = np.zeros(count)
        last[-2:] = 1
        if row.label == 0:
            parts = 0.75 * np.ones(count) / count + 0.25 * last / last.sum()
            labels = np.zeros(count, np.int64)
        elif row.spans:
            end = min(stop for _, stop in row.spans)
            start = min(begin for begin, _ in row.spans)
            labels = np.array([row.label if stop >= end else 0 for _, stop in offsets], np.int64)
            parts = np.array([0.0 if begin >= start and stop < end else 1.0 for begin, stop in offsets])
            parts = 0.6 * parts / max(parts.sum(), 1) + 0.4 * last / last.sum()
            labels[-1] = row.label
        else:
            labels = np.full(count, row.label, np.int64)
            rising = place**RISING
            parts = 0.6 * rising / rising.sum() + 0.4 * last / last.sum()
        return Part(np.array(ids, np.int64), labels, parts.astype(np.float32))

    def batches(self, tokens: int, pool: int = 2048) -> Iterator[list[Example]]:
        """Yield batches of about `tokens` padded positions, of similar lengths."""
        while True:
            yield from grouped([e for _ in range(pool) if (e := self.example())], tokens, self.rng)


def grouped(examples: list[Any], tokens: int, rng: random.Random) -> list[list[Any]]:
    """Return batches of about `tokens` padded positions, of similar lengths, in an order of chance."""
    groups: list[list[Any]] = [[]]
    for example in sorted(examples, key=lambda example: len(example.ids)):
        if groups[-1] and (len(groups[-1]) + 1) * len(example.ids) > tokens:
            groups.append([])
        groups[-1].append(example)
    rng.shuffle(groups)
    return groups


def _joined(parts: list[Part]) -> Part:
    ids = [part.ids for part in parts] or [np.zeros(0, np.int64)]
    labels = [part.labels for part in parts] or [np.zeros(0, np.int64)]
    weights = [part.weights for part in parts] or [np.zeros(0, np.float32)]
    return Part(np.concatenate(ids), np.concatenate(labels), np.concatenate(weights).astype(np.float32))


def tensors(batch: list[Example]) -> dict[str, Tensor]:
    """Return a batch padded on the right: ids, labels and weights (rows, width), kinds (rows, 9), response (rows,)."""
    width = max(len(example.ids) for example in batch)
    out = {
        "ids": torch.zeros(len(batch), width, dtype=torch.long),
        "labels": torch.zeros(len(batch), width, dtype=torch.long),
        "weights": torch.zeros(len(batch), width),
    }
    for index, example in enumerate(batch):
        for name, rows in out.items():
            rows[index, : len(example.ids)] = torch.from_numpy(getattr(example, name))
    out["kinds"] = torch.from_numpy(np.stack([example.kinds for example in batch]))
    out["response"] = torch.tensor([example.response for example in batch])
    return out
