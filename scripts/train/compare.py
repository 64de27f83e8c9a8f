"""Train small variants on equal numbers of positions and print what each learned of unseen sources.

python scripts/train/compare.py --data CORPUS --run RUN [--positions 2000000] [NAME ...]

RUN holds tokenizer.json. A variant that has its figures in RUN/compare.json is not trained again.
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
from compose import Composer
from corpus import training_rows, weights
from glance import Glance
from model import Shape
from tokenizers import Tokenizer
from train import Training

HERE = Path(__file__).parent
VARIANTS: dict[str, dict[str, Any]] = {
    "MiniLM, 4 layers": {},
    "from scratch, hidden 256, 6 layers": {
        "shape": {"layers": 6, "hidden": 256, "heads": 8, "inner": 1024}, "rate": 0.001, "embedding_rate": 0.002,
    },
    "from scratch, hidden 384, 4 layers": {"shape": {"layers": 4}, "rate": 0.001, "embedding_rate": 0.002},
    "MiniLM, 6 layers": {"shape": {"layers": 6}},
    "MiniLM, 3 layers": {"shape": {"layers": 3}},
    "MiniLM, 4 layers, without synthesis": {"synthesis": False},
    "MiniLM, 4 layers, next-token loss 0.1": {"next_token": 0.1},
}  # fmt: skip


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


def learned(name: str, data: Path, run: Path, positions: int) -> dict[str, float]:
    """Train a variant and return its figures."""
    config = tomllib.loads((HERE / "mini.toml").read_text()) | VARIANTS[name] | {"positions": positions, "hold": 0.3}
    folder = run / name.replace(" ", "-").replace(",", "")
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    first = None
    if not name.startswith("from scratch"):
        table, source = start.read(start.source_folder())
        first = folder / "start.pt"
        made, _ = start.embeddings(tokenizer, source, table["embeddings.word_embeddings.weight"])
        torch.save({"model": start.state(table, Shape(**config["shape"]), made)}, first)
    training = Training(config, folder, first)
    rows = training_rows(data, synthesize.rows(config["seed"]) if config["synthesis"] else ())
    rows = [row for row in rows if row.source not in config["held_out"]]
    rows += synthesize.tasks(rows, config["seed"]) if config["synthesis"] else ()
    chances = weights(rows, config["shares"], config["safe"], config["trust"])
    glance = Glance(data, tokenizer, config["width"])
    training.over(Composer(rows, tokenizer, chances, config, 1 + training.step).batches(config["tokens"]), glance)
    training.model.load_state_dict(training.mean)
    return {"minutes": round(training.spent / 60, 1)} | figures(glance.look(training.model))


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--positions", type=int, default=2_000_000)
    parser.add_argument("names", nargs="*", default=list(VARIANTS))
    args = parser.parse_args()
    path = args.run / "compare.json"
    found: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    for name in args.names:
        if name not in found:
            found[name] = learned(name, args.data, args.run, args.positions)
            path.write_text(json.dumps(found, indent=1) + "\n")
    columns = list(next(iter(found.values())))
    print("| " + " | ".join(["variant", *columns]) + " |\n|" + "---|" * (len(columns) + 1))
    for name, line in found.items():
        print("| " + " | ".join([name, *(str(line[column]) for column in columns)]) + " |")


if __name__ == "__main__":
    main()
