"""Train riskline-mini: draw, compose, learn prefixes; resumable, seeded, its schedule driven by training time."""

from __future__ import annotations

import argparse
import json
import random
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpus import CATEGORIES, Row, read_rows, weights
from model import Mini, Shape
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

RESPONSE_CATEGORIES = 8
LOGGED = 50
"""Steps between lines of the log."""
SAVED = 240
"""Seconds between checkpoints."""
NOISE = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5"})


@dataclass(frozen=True, slots=True)
class Example:
    """One training row: ids, and for every position a label, its weight and the row's category weight."""

    ids: NDArray[np.int64]  # (width,)
    labels: NDArray[np.int64]  # (width,)
    weights: NDArray[np.float32]  # (width,)
    kinds: NDArray[np.float32]  # (categories,), zeros where unknown
    response: bool


class Composer:
    """Turns drawn rows into examples: plain, joined to another text, or after earlier turns."""

    def __init__(
        self, rows: list[Row], tokenizer: Tokenizer, chances: list[float], config: dict[str, Any], seed: int
    ) -> None:
        self.rows, self.tokenizer, self.config = rows, tokenizer, config
        self.tags = {name: tokenizer.token_to_id(f"<|{name}|>") for name in ("system", "prompt", "response")}
        self.cumulative = np.cumsum(chances)
        self.rng = random.Random(seed)
        self.numpy = np.random.default_rng(seed)

    def draw(self) -> Row:
        return self.rows[
            min(int(np.searchsorted(self.cumulative, self.rng.random() * self.cumulative[-1])), len(self.rows) - 1)
        ]

    def example(self) -> Example | None:
        row = self.draw()
        before = self._context(row)
        room = self.config["width"] - len(before)
        ids, labels, parts = self._judged(row)
        cut = len(ids) > room
        if len(ids) == 0 or room < 8:
            return None
        ids, labels, parts = ids[:room], labels[:room], parts[:room]
        if cut and row.label and not row.spans:
            parts = parts * 0.3  # what made it unsafe may be in what was cut
        kinds = np.zeros(len(CATEGORIES), np.float32)
        known = [c for c in row.categories if row.role == "prompt" or c < RESPONSE_CATEGORIES]
        if row.label and known:
            kinds[known] = 1 / len(known)
        pad = np.zeros(len(before))
        return Example(
            np.concatenate((before, ids)),
            np.concatenate((pad.astype(np.int64), labels)),
            np.concatenate((pad.astype(np.float32), parts)).astype(np.float32),
            kinds,
            row.role == "response",
        )

    def _context(self, row: Row) -> NDArray[np.int64]:
        parts: list[int] = []
        if self.rng.random() < self.config["context"]:
            other = self.draw()
            if self.rng.random() < 0.4:
                parts += [self.tags["system"], *self._encode(other.text)[0][:48]] if other.label == 0 else []
            elif other.role == "response" and other.prompt:
                parts += [self.tags["prompt"], *self._encode(other.prompt)[0][:40]]
                parts += [self.tags["response"], *self._encode(other.text)[0][:40]]
        if row.role == "response" and row.prompt:
            parts += [self.tags["prompt"], *self._encode(row.prompt)[0][-96:]]
        return np.array([*parts, self.tags[row.role]], np.int64)

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoding = self.tokenizer.encode(text[:1600], add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def _judged(self, row: Row) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        ids, labels, parts = self._text(row)
        if self.rng.random() >= self.config["join"]:
            return ids, labels, parts
        other = self.draw()
        if other.role != row.role or (other.label and row.label == 0):
            # A benign text before a harmful one must not be followed by a category of the wrong row: turn them round.
            return ids, labels, parts
        joint = self._encode(self.rng.choice([" ", "\n", "\n\n", ". "]))[0]
        more, more_labels, more_parts = self._text(other)
        gap = np.array(joint, np.int64)
        if other.label == 0 and self.rng.random() < 0.5:
            # other first: its tokens stay safe
            return (
                np.concatenate((more, gap, ids)),
                np.concatenate((more_labels, np.zeros(len(gap), np.int64), labels)),
                np.concatenate((more_parts * 0.5, np.zeros(len(gap), np.float32), parts)),
            )
        # The row first: what follows a harmful text stays harmful.
        worst = int(labels[-1]) if len(labels) else 0
        after = np.full(len(more), worst) if worst else more_labels
        spread = np.full(len(more), 0.5 / max(len(more), 1), np.float32)
        return (
            np.concatenate((ids, gap, more)),
            np.concatenate((labels, np.full(len(gap), worst), after)),
            np.concatenate((parts, np.zeros(len(gap), np.float32), spread)),
        )

    def _text(self, row: Row) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        text = row.text
        if not row.spans and (dice := self.rng.random()) < self.config["noise"]:
            text = (
                text.translate(NOISE)
                if dice < self.config["noise"] / 3
                else (text.upper() if dice < self.config["noise"] / 2 else text.lower())
            )
        ids, offsets = self._encode(text)
        count = len(ids)
        if not count:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        place = (np.arange(count) + 1) / count
        last = np.zeros(count)
        last[-2:] = 1
        if row.label == 0:
            parts = 0.6 * np.ones(count) / count + 0.4 * last / last.sum()
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
            rising = place**3
            parts = 0.6 * rising / rising.sum() + 0.4 * last / last.sum()
        return np.array(ids, np.int64), labels, parts.astype(np.float32)

    def batches(self, tokens: int, pool: int = 4096) -> Iterator[list[Example]]:
        """Yield batches of about `tokens` padded positions, of similar lengths."""
        while True:
            examples = sorted((e for _ in range(pool) if (e := self.example())), key=lambda e: len(e.ids))
            groups: list[list[Example]] = [[]]
            for example in examples:
                if groups[-1] and (len(groups[-1]) + 1) * len(example.ids) > tokens:
                    groups.append([])
                groups[-1].append(example)
            self.rng.shuffle(groups)
            yield from groups


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


def loss_of(logits: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the risk loss and the category loss, each a mean over texts; categories count where a token is risky."""
    response = batch["response"][:, None, None]
    risk = torch.where(response, logits[..., 12:15], logits[..., 0:3])
    count = len(batch["ids"])
    entropy = functional.cross_entropy(risk.flatten(0, 1), batch["labels"].flatten(), reduction="none")
    risk_loss = (entropy.view_as(batch["weights"]) * batch["weights"]).sum() / count
    closed = torch.full_like(logits[..., :1], -1e4)  # responses have no Jailbreak
    kind = torch.where(response, torch.cat((logits[..., 15:23], closed), -1), logits[..., 3:12])
    token = batch["weights"] * (batch["labels"] > 0)
    per_token = -(functional.log_softmax(kind, -1) * batch["kinds"][:, None, :]).sum(-1)
    return risk_loss, (per_token * token).sum() / count


class Training:
    """A model, its optimizer and how far they are; saved whole, so that a run continues where it stopped."""

    def __init__(self, config: dict[str, Any], run: Path) -> None:
        torch.manual_seed(config["seed"])
        torch.set_num_threads(config["threads"])
        run.mkdir(parents=True, exist_ok=True)
        self.config, self.run = config, run
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = Mini(Shape(**config["shape"])).to(self.device)
        groups = [
            {"params": [p for p in self.model.parameters() if p.dim() > 1], "weight_decay": config["decay"]},
            {"params": [p for p in self.model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config["rate"], betas=(0.9, 0.98), fused=True)
        self.step, self.tokens, self.spent = 0, 0, 0.0
        if self.path.exists():
            self._load()

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.run / "last.pt"

    def save(self) -> None:
        """Write the checkpoint beside itself, then in its place."""
        state = {name: getattr(self, name) for name in ("step", "tokens", "spent")}
        state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def _load(self) -> None:
        state = torch.load(self.path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.tokens, self.spent = state["step"], state["tokens"], state["spent"]

    def learn(self, examples: list[Example], done: float) -> tuple[float, float]:
        """Take one step at the share `done` of the schedule and return the risk and category losses."""
        warm = min(1.0, (self.step + 1) / self.config["warmup"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.config["rate"] * warm * (1 - done)
        batch = {name: value.to(self.device) for name, value in tensors(examples).items()}
        with torch.autocast(self.device, torch.bfloat16):
            logits = self.model(batch["ids"], self.config["dropout"])
        risk, kind = loss_of(logits.float(), batch)
        self.optimizer.zero_grad(set_to_none=True)
        (risk + self.config["category"] * kind).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self.tokens += batch["ids"].numel()
        return risk.item(), kind.item()

    def over(self, batches: Iterator[list[Example]]) -> None:
        """Learn until the configured minutes of training are spent; minutes of earlier starts count."""
        self.model.train()
        begun, started, saved = self.spent, time.monotonic(), time.monotonic()
        losses: list[tuple[float, float]] = []
        for examples in batches:
            self.spent = begun + time.monotonic() - started
            done = self.spent / (60 * self.config["minutes"])
            if done >= 1:
                break
            losses.append(self.learn(examples, done))
            if self.step % LOGGED == 0:
                self._log(losses)
                losses = []
            if time.monotonic() - saved > SAVED:
                self.save()
                saved = time.monotonic()
        self.save()

    def _log(self, losses: list[tuple[float, float]]) -> None:
        risk, kind = np.mean(losses, axis=0).round(4).tolist()
        minutes = round(self.spent / 60, 2)
        line = {"step": self.step, "tokens": self.tokens, "minutes": minutes, "risk": risk, "kind": kind}
        with (self.run / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")


def main() -> None:
    """Train, or go on training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the corpus, with its folder train/")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder of checkpoint and log; a run goes on from it")
    args = parser.parse_args()
    config = tomllib.loads(args.config.read_text())
    training = Training(config, args.run)
    rows = list(read_rows(args.data / "train"))
    chances = weights(rows, config["shares"], config["safe"], config["trust"])
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    # A continued run draws other rows than the ones it has seen.
    composer = Composer(rows, tokenizer, chances, config, config["seed"] + training.step)
    training.over(composer.batches(config["tokens"]))


if __name__ == "__main__":
    main()
