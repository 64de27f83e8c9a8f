"""From a corpus to models/riskline-mini in one command; a step whose result is there is not done again.

python scripts/train/pipeline.py --data CORPUS --run RUN [--config scripts/train/mini.toml]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STAGES = ("members", "finish", "replies", "ends")
"""Every stage starts from the mean of the one before, and its own mean counts that one as one more run; the members'
mean is aligned first, so that what follows knows the words of every language from the start."""
GUARD = HERE.parents[1] / "models" / "riskline-mini"


def run(script: str, *arguments: str | Path) -> str:
    """Run a script of this folder and return what it printed; it stops the pipeline if it fails."""
    print(f"{script} {' '.join(map(str, arguments))}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, HERE / script, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def trained(config: dict[str, Any], stage: str, start: Path, folder: Path, fixed: tuple[str | Path, ...]) -> list[Path]:
    """Train every run of a stage from the same start and return their folders."""
    runs = [folder / f"{stage}-{index}" for index in range(len(config[stage]))]
    for index, member in enumerate(runs):
        run("train.py", *fixed, "--start", start, "--run", member, "--stage", stage, "--member", str(index))
    return runs


def main() -> None:
    """Tokenizer, start, controversial labels, the stages and their means, bundle, calibration, figures, card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=HERE / "mini.toml")
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    tokenizer, start, checkpoint = (args.run / name for name in ("tokenizer.json", "start.pt", "last.pt"))
    found, figures, proof = (args.run / name for name in ("found.json", "figures.json", "proof.txt"))
    data = ("--config", args.config, "--data", args.data)
    if not tokenizer.exists():
        run("tokenizer.py", args.data, tokenizer)
    if not start.exists():
        run("start.py", "--config", args.config, "--tokenizer", tokenizer, "--out", start)
    config = tomllib.loads(args.config.read_text())
    shared = (*data, "--tokenizer", tokenizer)
    controversial = args.run / "annotate" / "controversial.txt"
    if not controversial.exists():
        run("annotate.py", *shared, "--start", start, "--run", controversial.parent)
    before: list[Path] = []
    for stage in STAGES:
        runs = trained(config, stage, start, args.run, (*shared, "--controversial", controversial))
        start = args.run / f"after-{stage}" / "last.pt"
        run("soup.py", "--out", start, *before, *runs)
        if stage == "members":
            after, start = start, args.run / "aligned" / "last.pt"
            run("align.py", "--data", args.data, "--checkpoint", after, "--tokenizer", tokenizer, "--out", start)
            shutil.copyfile(after.parent / "log.jsonl", start.parent / "log.jsonl")
        before = [start.parent]
    run("soup.py", "--out", checkpoint, *before)
    bundle = ("--config", args.config, "--checkpoint", checkpoint, "--tokenizer", tokenizer, "--found", found)
    found.write_text("{}")
    run("bundle.py", *bundle)
    found.write_text(run("evaluate.py", *data, "--calibrate"))
    proof.write_text(run("bundle.py", *bundle))
    run("evaluate.py", *data, "--json", figures)
    run("card.py", "--log", args.run / "log.jsonl", "--figures", figures, "--proof", proof)


if __name__ == "__main__":
    main()
