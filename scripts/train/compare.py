"""Train small variants on equal numbers of positions and print what each learned of unseen sources.

python scripts/train/compare.py --data CORPUS --run RUN [--positions 1500000] [NAME ...]

RUN holds tokenizer.json, aligned.pt and after-0/last.pt as pipeline.py makes them; all variants but one start before
whole texts were learned. A variant that has its figures in RUN/compare.json is not trained again. Every variant is
judged by the mean of its last weights, as what ships is; the first one's last weights have a row of their own.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

import start
import synthesize
import torch
from glance import Glance
from model import Layer, Mini, Shape
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from train import Training

HERE = Path(__file__).parent
BUCKETS = 16_384
"""Rows of a table of hashed n-grams."""
REACH = 8
"""Tokens that a mixing layer sees, its own among them."""
ROWS = 300
"""Rows of each unseen source, role, language and label that a variant is judged by."""
LARGE = {"rate": 0.001, "embedding_rate": 0.002}
"""The rates of what starts from nothing."""


def hashed(ids: Tensor, size: int) -> Tensor:
    """Return the bucket of the n-gram of `size` tokens that ends at every position, (batch, width)."""
    found = ids
    for back in range(1, size):
        before = functional.pad(ids, (back, 0))[:, : ids.shape[1]]
        found = found * 1_000_003 + before * 8_191 * back + size
    return found % BUCKETS


class WithPairs(Mini):
    """The model with a table of hashed token pairs added at the input; the table starts at zero."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.pairs = nn.Embedding(BUCKETS, shape.hidden)
        nn.init.zeros_(self.pairs.weight)

    def embedded(self, ids: Tensor) -> Tensor:
        return super().embedded(ids) + self.pairs(hashed(ids, 2))


class Mixing(Layer):
    """A layer with a causal convolution over the last tokens, feature by feature, instead of attention."""

    def mixer(self) -> None:
        self.mix = nn.Conv1d(self.shape.hidden, self.shape.hidden, REACH, groups=self.shape.hidden)

    def mixed(self, x: Tensor) -> Tensor:
        out: Tensor = self.mix(functional.pad(x.transpose(1, 2), (REACH - 1, 0))).transpose(1, 2)
        return out


class Mixer(Mini):
    """Hashed pairs and triples of tokens at the input, mixed by causal convolutions instead of attention."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.grams = nn.ModuleList(nn.Embedding(BUCKETS, shape.hidden) for _ in range(2))
        self.layers = nn.ModuleList(Mixing(shape) for _ in range(shape.layers))
        for table in self.grams:
            nn.init.normal_(table.weight, std=0.02)

    def embedded(self, ids: Tensor) -> Tensor:
        x: Tensor = self.embedding(ids)  # without positions: a convolution knows the order
        for size, table in enumerate(self.grams, 2):
            x = x + table(hashed(ids, size))
        return x


VARIANTS: dict[str, dict[str, Any]] = {
    "MiniLM, 4 layers": {},
    "after the meanings of whole texts": {"from": "after-0/last.pt"},
    "its own WordPiece vocabulary alone": {"wordpiece": True, "shape": {"vocabulary": 30_525}},
    "hashed token pairs added at the input": {"model": WithPairs},
    "MiniLM, 6 layers": {"shape": {"layers": 6}},
    "MiniLM, 3 layers": {"shape": {"layers": 3}},
    "without synthetic rows": {"synthesis": False},
    "next-token loss 0.1": {"next_token": 0.1},
    "from scratch, hidden 384, 4 layers": {"scratch": True, **LARGE},
    "from scratch, hidden 256, 6 layers": {
        "scratch": True,
        "shape": {"layers": 6, "hidden": 256, "heads": 8, "inner": 1024},
        **LARGE,
    },
    "from scratch, hashed n-grams under a causal mixer": {"scratch": True, "model": Mixer, **LARGE},
}  # fmt: skip


def beginning(config: dict[str, Any], run: Path) -> tuple[Tokenizer, dict[str, Tensor] | None]:
    """Return a variant's tokenizer and the weights it starts from, None where it starts from nothing."""
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    if config.get("scratch"):
        return tokenizer, None
    table, source = start.read(start.source_folder())
    if config.get("wordpiece"):
        source.add_special_tokens([f"<|{name}|>" for name in ("system", "prompt", "response")])
        words = table["embeddings.word_embeddings.weight"]
        first = words[source.token_to_id("[CLS]")].repeat(3, 1)
        return source, start.state(table, Shape(**config["shape"]), torch.cat((words, first)))
    first = torch.load(run / config.get("from", "aligned.pt"), map_location="cpu", weights_only=True)["model"]
    if "from" in config:
        return tokenizer, first
    return tokenizer, start.state(table, Shape(**config["shape"]), first["embedding.weight"])


def figures(glance: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return a few means over the groups of a glance."""

    def mean(names: list[str], key: str) -> float:
        values = [glance[name][key] for name in names if key in glance[name]]
        return round(sum(values) / len(values), 3)

    english = ["s_eval/prompt/en", "ailuminate_demo/prompt/en", "jailbreakbench/prompt/en"]
    return {
        "recall of harmful English instructions at 0.5": mean(english, "unsafe>=0.5"),
        "false alarms on alpaca_prompts at 0.5": glance["alpaca_prompts/prompt/en"]["safe>=0.5"],
        "AUROC jailbreakbench": glance["jailbreakbench/prompt/en"]["auroc"],
        "AUROC safety_tuned_llamas": glance["safety_tuned_llamas/prompt/en"]["auroc"],
        "AUROC jbb_artifacts responses": glance["jbb_artifacts/response/en"]["auroc"],
        "AUROC comments": mean([name for name in glance if "/comment/" in name], "auroc"),
    }


def learned(name: str, data: Path, run: Path, positions: int) -> dict[str, dict[str, float]]:
    """Train a variant and return its figures by name."""
    config = tomllib.loads((HERE / "mini.toml").read_text())
    shape = config["shape"] | VARIANTS[name].get("shape", {})
    config |= VARIANTS[name] | {"shape": shape, "positions": positions, "hold": 0.3}
    folder = run / name.replace(" ", "-").replace(",", "")
    tokenizer, first = beginning(config, run)
    training = Training(config, folder, None, config.get("model", Mini))
    if first and not training.step:
        training.model.load_state_dict(first, strict=False)
    rows = synthesize.known(data, config)
    glance = Glance(data, tokenizer, config["width"], rows=ROWS)
    training.on([*rows, *synthesize.made(rows, config)], tokenizer, glance, None)

    def looked() -> dict[str, float]:
        return {"minutes": round(training.spent / 60, 1)} | figures(glance.look(training.model))

    last = {} if VARIANTS[name] else {"its last weights, not their mean": looked()}
    training.model.load_state_dict(training.mean)
    return {name: looked(), **last}


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--positions", type=int, default=1_500_000)
    parser.add_argument("names", nargs="*", default=list(VARIANTS))
    args = parser.parse_args()
    path = args.run / "compare.json"
    found: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    for name in args.names:
        if name not in found:
            found |= learned(name, args.data, args.run, args.positions)
            path.write_text(json.dumps(found, indent=1) + "\n")
    columns = list(next(iter(found.values())))
    print("| " + " | ".join(["variant", *columns]) + " |\n|" + "---|" * (len(columns) + 1))
    for name, line in found.items():
        print("| " + " | ".join([name, *(str(line[column]) for column in columns)]) + " |")


if __name__ == "__main__":
    main()
