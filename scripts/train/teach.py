"""Fine-tune the larger encoder on English prompts: what it then says of a prompt, the model learns beside the label.

python scripts/train/teach.py --config scripts/train/mini.toml --data CORPUS \
    --controversial RUN/annotate/controversial.txt --out RUN/teacher.pt

The encoder sees a text from both sides and knows more of English than the model ever will. It passes once over a part
of the rows and learns none by heart, so what it says of a prompt is mostly what the others taught it.
"""

from __future__ import annotations

import argparse
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import synthesize
import torch
from corpus import Row, weights
from encoder import LONGEST, Encoder, archive
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

BATCH = 64
POOL = 40 * BATCH
"""Prompts that are sorted by length together."""
WARMUP = 50
LOGGED = 50
HEAD_RATE = 1e-3
DECAY = 0.02
CONTROVERSIAL = 0.6
"""How harmful a controversial prompt is, one that annotate.py found among the harmful ones too."""


class Teacher(nn.Module):
    """The encoder, and how harmful it finds a prompt by the mean of its states."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder, self.model = encoder, encoder.model
        self.head = nn.Linear(encoder.width, 1)

    def forward(self, texts: list[str]) -> Tensor:
        """Return the logits of prompts' harm, (texts,)."""
        rows = [encoding.ids for encoding in self.encoder.tokenizer.encode_batch(texts)]
        with torch.autocast("cpu", torch.bfloat16):
            states = self.encoder.mean(rows)
        out: Tensor = self.head(states)[:, 0]
        return out

    def harm(self, texts: list[str]) -> NDArray[np.float32]:
        """Return how harmful texts are as prompts, of 0 to 1, (texts,)."""
        with torch.inference_mode():
            found: NDArray[np.float32] = self.head(torch.from_numpy(self.encoder.means(texts)))[:, 0].sigmoid().numpy()
        return found


def learnable(rows: list[Row]) -> list[Row]:
    """Return the English prompts that are read whole, or harmless: what makes one harmful may be in the rest."""
    prompts = (row for row in rows if row.kind == "prompt" and row.lang == "en" and row.text.strip())
    return [row for row in prompts if not row.label or len(row.text) <= LONGEST]


def drawn(rows: list[Row], config: dict[str, Any]) -> Iterator[list[Row]]:
    """Yield batches of prompts of like length, as many as the configuration says, drawn by its shares."""
    chances = np.array(weights(rows, config["shares"], config["safe"], config["trust"]))
    rng = np.random.default_rng(config["seed"])
    chosen = [rows[index] for index in rng.choice(len(rows), config["teacher"]["prompts"], p=chances / chances.sum())]
    for start in range(0, len(chosen), POOL):
        pool = sorted(chosen[start : start + POOL], key=lambda row: len(row.text))
        batches = [pool[place : place + BATCH] for place in range(0, len(pool), BATCH)]
        random.Random(start).shuffle(batches)
        yield from batches


def learn(teacher: Teacher, batches: list[list[Row]], rate: float, controversial: set[str]) -> None:
    """Fine-tune all but the embeddings, without dropout, the rate falling to zero over the batches."""
    teacher.eval()
    teacher.model.embeddings.requires_grad_(requires_grad=False)
    body = [weight for weight in teacher.model.parameters() if weight.requires_grad]
    groups = [{"params": body, "lr": rate}, {"params": list(teacher.head.parameters()), "lr": HEAD_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=DECAY, fused=True)
    full = [float(group["lr"]) for group in optimizer.param_groups]
    losses: list[float] = []
    for step, batch in enumerate(batches):
        scale = min(1.0, (step + 1) / WARMUP) * (1 - step / len(batches))
        for group, most in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = most * scale
        harm = [
            0.0 if not row.label else CONTROVERSIAL if row.label == 2 or row.digest in controversial else 1.0
            for row in batch
        ]
        logits = teacher([row.text[:LONGEST] for row in batch])
        loss = functional.binary_cross_entropy_with_logits(logits, torch.tensor(harm))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(teacher.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if len(losses) == LOGGED:
            print(f"{step + 1} of {len(batches)}: loss {np.mean(losses):.4f}", flush=True)
            losses.clear()


def load(path: Path) -> Teacher:
    """Return the fine-tuned teacher in `path`, for guessing."""
    teacher = Teacher(Encoder.load(archive()))
    state = torch.load(path, weights_only=True)
    teacher.model.load_state_dict(state["model"])
    teacher.model.bfloat16()
    teacher.head.load_state_dict(state["head"])
    return teacher.eval()


def main() -> None:
    """Write the fine-tuned encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--controversial", type=Path, required=True, help="digests of rows that annotate.py found")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    config = tomllib.loads(args.config.read_text())
    torch.manual_seed(config["seed"])
    torch.set_num_threads(config["threads"])
    teacher = Teacher(Encoder.load(archive()))
    batches = list(drawn(learnable(synthesize.known(args.data, config)), config))
    learn(teacher, batches, config["teacher"]["rate"], set(args.controversial.read_text().split()))
    body = {name: value.bfloat16() for name, value in teacher.model.state_dict().items()}
    partly = args.out.with_suffix(".partly")
    torch.save({"model": body, "head": teacher.head.state_dict()}, partly)
    partly.replace(args.out)


if __name__ == "__main__":
    main()
