"""Train riskline-mini: draw, compose, learn prefixes; resumable, seeded, its schedule driven by positions.

python scripts/train/train.py --config scripts/train/mini.toml --data CORPUS --tokenizer RUN/tokenizer.json \
    --meanings RUN/meanings.npz --start RUN/aligned.pt --round 0 --member 0 --run RUN/round-0-0

Some steps learn from labels, the others what an encoder makes of whole texts (meanings.py).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import synthesize
import torch
from compose import Composer, Example, tensors
from corpus import Row, weights
from glance import Glance
from meanings import Meanings, Meant
from model import Mini, Shape
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

HARMLESS = 0.1
"""A prompt of a lower verdict is harmless throughout."""
LOGGED = 50
"""Steps between lines of the log."""
SAVED = 240
"""Seconds between checkpoints."""
AVERAGED = 4
"""Steps between additions to the mean of the weights."""
GLANCED = 720
"""Seconds between looks at unseen sources."""


def loss_of(logits: Tensor, batch: dict[str, Tensor], highest: float) -> tuple[Tensor, Tensor]:
    """Return the risk loss and the category loss, each a mean over texts; categories count where a token is risky.

    A safe text is wrong as soon as one of its tokens is, and a harmful one is right as soon as one of its risky tokens
    is: that one token counts `highest` more.
    """
    response = batch["response"][:, None, None]
    risk = torch.where(response, logits[..., 12:15], logits[..., 0:3])
    count = len(batch["ids"])
    entropy = functional.cross_entropy(risk.flatten(0, 1), batch["labels"].flatten(), reduction="none")
    entropy = entropy.view_as(batch["weights"])
    risk_loss = (entropy * batch["weights"]).sum() / count
    judged = batch["weights"] > 0
    risky = judged & (batch["labels"] > 0)
    harmful = risky.any(1)
    worst = torch.where(judged, entropy, torch.zeros_like(entropy)).max(1).values
    best = torch.where(risky, entropy, torch.full_like(entropy, torch.inf)).min(1).values
    # A harmful text that was cut weighs less in all: what made it harmful may be missing.
    share = torch.where(harmful, batch["weights"].sum(1).clamp(max=1), torch.ones_like(worst))
    risk_loss = risk_loss + highest * (torch.where(harmful, best, worst) * share).sum() / count
    closed = torch.full_like(logits[..., :1], -1e4)  # responses have no Jailbreak
    kind = torch.where(response, torch.cat((logits[..., 15:23], closed), -1), logits[..., 3:12])
    token = batch["weights"] * (batch["labels"] > 0)
    per_token = -(functional.log_softmax(kind, -1) * batch["kinds"][:, None, :]).sum(-1)
    return risk_loss, (per_token * token).sum() / count


def meaning_loss(
    model: Mini, states: Tensor, logits: Tensor, texts: list[Meant], highest: float
) -> tuple[Tensor, Tensor]:
    """Return how far the states at the texts' ends are from their meanings, and their prompt risks from the verdicts.

    The first is one minus the mean cosine, the second an entropy; both count the last word half as much as the end.
    Where label and teacher agree that a prompt is harmless, so is all of it, and its riskiest token counts `highest`.
    """
    device = states.device
    goals = torch.from_numpy(np.stack([text.meaning for text in texts])).float().to(device)
    verdicts = torch.tensor([text.verdict for text in texts], device=device)
    known = ~verdicts.isnan()
    verdicts = verdicts.nan_to_num()  # not asked, but what is not asked must be finite for its slope to be zero
    places = torch.arange(len(texts), device=device)
    ends = torch.tensor([len(text.ids) - 1 for text in texts], device=device)
    asked = known.sum().clamp(min=1)
    apart, wrong = torch.zeros((), device=device), torch.zeros((), device=device)
    for at, weight in ((ends, 1.0), (ends - 1, 0.5)):
        found = functional.cosine_similarity(model.meaning(states[places, at]).float(), goals)
        apart = apart + weight * (1 - found).mean() / 1.5
        kinds = functional.log_softmax(logits[places, at, 0:3], -1)
        safe, risky = kinds[:, 0], kinds[:, 1:].logsumexp(-1)
        entropy = torch.where(known, -(verdicts * risky + (1 - verdicts) * safe), torch.zeros_like(safe)).sum()
        wrong = wrong + weight * entropy / asked / 1.5
    # The first position is the tag's, which is not judged.
    inside = torch.arange(1, states.shape[1], device=device) <= ends[:, None]
    entropy = -functional.log_softmax(logits[:, 1:, 0:3], -1)[..., 0] * inside
    each = 0.5 * entropy.sum(1) / ends.clamp(min=1) + highest * entropy.max(1).values
    wrong = wrong + (each * (known & (verdicts < HARMLESS))).sum() / asked
    return apart, wrong


def mixed(
    labelled: Iterator[list[Example]], meant: Iterator[list[Meant]], share: float, seed: int
) -> Iterator[list[Example] | list[Meant]]:
    """Yield batches of both, `share` of them meant."""
    rng = random.Random(seed)
    while True:
        if rng.random() < share:
            yield next(meant)
        else:
            yield next(labelled)


class Training:
    """A model, its optimizer and how far they are; saved whole, so that a run continues where it stopped."""

    def __init__(self, config: dict[str, Any], run: Path, start: Path | None, model: type[Mini] = Mini) -> None:
        torch.manual_seed(config["seed"])
        torch.set_num_threads(config["threads"])
        run.mkdir(parents=True, exist_ok=True)
        self.config, self.run = config, run
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model(Shape(**config["shape"])).to(self.device)
        named = list(self.model.named_parameters())
        self.rates = [config["rate"], config["embedding_rate"], config["rate"]]
        groups = [
            {
                "params": [p for n, p in named if p.dim() > 1 and n != "embedding.weight"],
                "weight_decay": config["decay"],
            },
            {"params": [self.model.embedding.weight], "weight_decay": 0.0},
            {"params": [p for _, p in named if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config["rate"], betas=(0.9, 0.98), fused=True)
        self.step, self.tokens, self.spent = 0, 0, 0.0
        self.mean: dict[str, Tensor] = {}
        self.stopped = False
        if self.path.exists():
            self._load()
        elif start:
            self.model.load_state_dict(torch.load(start, map_location=self.device, weights_only=True)["model"])

    @property
    def done(self) -> float:
        """The share of the schedule that is behind: of the positions where the configuration says how many."""
        if "positions" in self.config:
            return float(self.tokens / self.config["positions"])
        return float(self.spent / (60 * self.config["minutes"]))

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.run / "last.pt"

    def stop(self, *_: object) -> None:
        """End after the step at hand: a run that is asked to end keeps what it learned."""
        self.stopped = True

    def save(self) -> None:
        """Write the checkpoint beside itself, then in its place."""
        state = {name: getattr(self, name) for name in ("step", "tokens", "spent")}
        state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "mean": self.mean}
        torch.save(state, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def _load(self) -> None:
        state = torch.load(self.path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.mean = state["mean"]
        self.step, self.tokens, self.spent = state["step"], state["tokens"], state["spent"]

    def learn(self, batch: list[Example] | list[Meant], done: float) -> dict[str, float]:
        """Take one step at the share `done` of the schedule and return its losses by name."""
        meant = [text for text in batch if isinstance(text, Meant)]
        rows = tensors([example for example in batch if isinstance(example, Example)]) if not meant else {}
        ids = pad_sequence([torch.tensor(text.ids) for text in meant], batch_first=True) if meant else rows["ids"]
        ids = ids.to(self.device)
        with torch.autocast(self.device, torch.bfloat16):
            states = self.model.hidden(ids, self.config["dropout"])
            words = self._next_tokens(states, ids) if self.config["next_token"] else torch.zeros(())
            logits = self.model.head(states.float()).float()
        if meant:
            apart, wrong = meaning_loss(self.model, states.float(), logits, meant, self.config["highest"])
            losses, loss = {"meaning": apart.item(), "verdict": wrong.item()}, apart + wrong
        else:
            labels = {name: value.to(self.device) for name, value in rows.items()}
            risk, kind = loss_of(logits, labels, self.config["highest"])
            losses, loss = {"risk": risk.item(), "kind": kind.item()}, risk + self.config["category"] * kind
        self.advance(loss + self.config["next_token"] * words, ids.numel(), done)
        return losses

    def advance(self, loss: Tensor, tokens: int, done: float) -> None:
        """Move the weights against a loss over `tokens` positions, at the rate of the share `done` of the schedule."""
        warm = min(1.0, (self.step + 1) / self.config["warmup"])
        hold = self.config["hold"]
        scale = warm * (1.0 if done <= hold else (1 - done) / (1 - hold))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * scale
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        if self.step % AVERAGED == 0:
            self._average()
        self.tokens += tokens

    def _next_tokens(self, states: Tensor, ids: Tensor) -> Tensor:
        """Return the entropy of the next token at one position in eight, the embedding as output weights."""
        states, following = states[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
        chosen = (following > 0).nonzero()[:, 0]
        chosen = chosen[torch.randperm(len(chosen), device=ids.device)[: max(1, len(chosen) // 8)]]
        return functional.cross_entropy((states[chosen] @ self.model.embedding.weight.T).float(), following[chosen])

    @torch.no_grad()
    def _average(self) -> None:
        """Keep the mean of the weights over about the last 1 / (1 - average) steps: it ships."""
        if not self.mean:
            self.mean = {name: value.clone() for name, value in self.model.state_dict().items()}
        kept = min(self.config["average"], self.step / (self.step + 10)) ** AVERAGED
        names = list(self.mean)
        now = self.model.state_dict()
        torch._foreach_lerp_([self.mean[name] for name in names], [now[name] for name in names], 1 - kept)

    def on(self, rows: list[Row], tokenizer: Tokenizer, glance: Glance | None, meanings: Meanings | None) -> None:
        """Learn from rows, drawn by the configuration's shares; a continued run draws others than it has seen.

        `meanings` is what the configured share of steps learns from instead.
        """
        config, seed = self.config, self.config["seed"] + self.step
        chances = weights(rows, config["shares"], config["safe"], config["trust"])
        batches: Iterator[Any] = Composer(rows, tokenizer, chances, config, seed).batches(config["tokens"])
        if meanings:
            batches = mixed(batches, meanings.batches(tokenizer, config, seed), config["meanings"], seed)
        self.over(batches, glance)

    def over(self, batches: Iterator[list[Example] | list[Meant]], glance: Glance | None) -> None:
        """Learn until the configured positions are behind, those of earlier starts among them; a finished run stays."""
        if self.done >= 1:
            return
        self.model.train()
        last = saved = glanced = time.monotonic()
        losses: dict[str, list[float]] = defaultdict(list)
        for batch in batches:
            done = self.done
            if done >= 1 or self.stopped:
                break
            for name, loss in self.learn(batch, done).items():
                losses[name].append(loss)
            now = time.monotonic()
            self.spent, last = self.spent + now - last, now
            if self.step % LOGGED == 0:
                self._log({"tokens": self.tokens} | {name: round(float(np.mean(losses[name])), 4) for name in losses})
                losses.clear()
            if now - saved > SAVED:
                self.save()
                saved = now
            if glance and now - glanced > GLANCED:
                self._log(self._glance(glance))
                last = glanced = time.monotonic()
        self._average()
        self.save()
        if glance and not self.stopped:
            self._log(self._glance(glance))

    def require_end(self) -> None:
        """End the program with an error where the run was stopped before its end, so that nobody goes on from it."""
        if self.done < 1:
            raise SystemExit("the run was stopped; it goes on from its checkpoint")

    def _glance(self, glance: Glance) -> dict[str, Any]:
        """Look with the averaged weights, then go on with the last ones."""
        last = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.mean)
        figures = glance.look(self.model)
        self.model.load_state_dict(last)
        return figures

    def _log(self, figures: dict[str, Any]) -> None:
        line = {"step": self.step, "minutes": round(self.spent / 60, 2)} | figures
        with (self.run / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")


def arguments(about: str | None, *, start: bool = True) -> argparse.ArgumentParser:
    """Return what every script that trains is told; `start` says whether it must be told where it starts from."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the corpus, with its folders train/ and dev/")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=start, help="the state to start from: an earlier step's")
    parser.add_argument("--run", type=Path, required=True, help="folder of checkpoint and log; a run goes on from it")
    return parser


def main() -> None:
    """Train, or go on training."""
    parser = arguments(__doc__, start=False)
    parser.add_argument("--round", type=int, default=0, help="which of the configuration's rounds")
    parser.add_argument("--member", type=int, default=0, help="which of the round's runs")
    parser.add_argument("--controversial", type=Path, help="digests of rows that annotate.py found controversial")
    parser.add_argument("--meanings", type=Path, help="what meanings.py wrote")
    args = parser.parse_args()
    config = tomllib.loads(args.config.read_text())
    for name, value in config["rounds"][args.round]["runs"][args.member].items():
        config[name] = config[name] | value if isinstance(value, dict) else value
    training = Training(config, args.run, args.start)
    if training.done >= 1:
        return
    rows = synthesize.known(args.data, config)
    made = synthesize.made(rows, config)
    if args.controversial:  # after replies are made: what answers a prompt is as harmful as it was
        named = set(args.controversial.read_text().split())
        rows = [replace(row, label=synthesize.CONTROVERSIAL) if row.digest in named else row for row in rows]
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    signal.signal(signal.SIGTERM, training.stop)
    if config["meanings"] and not args.meanings:
        parser.error("this run learns meanings: --meanings RUN/meanings.npz")
    meanings = Meanings(args.meanings) if config["meanings"] else None
    training.on([*rows, *made], tokenizer, Glance(args.data, tokenizer, config["width"]), meanings)
    training.require_end()


if __name__ == "__main__":
    main()
