"""From a corpus to models/riskline-mini in one command; what was learned is not learned again.

python scripts/train/pipeline.py --data CORPUS --run RUN [--config scripts/train/mini.toml]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def run(script: str, *arguments: str | Path) -> str:
    """Run a script of this folder and return what it printed; it stops the pipeline if it fails."""
    print(f"{script} {' '.join(map(str, arguments))}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, HERE / script, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def trained(number: int, count: int, start: Path, folder: Path, fixed: tuple[str | Path, ...]) -> list[Path]:
    """Train every run of a round from the same start and return their folders."""
    runs = [folder / f"round-{number}-{index}" for index in range(count)]
    for index, member in enumerate(runs):
        run("train.py", *fixed, "--start", start, "--run", member, "--round", str(number), "--member", str(index))
    return runs


def main() -> None:
    """Tokenizer, start, controversial labels, teacher, meanings, rounds and their means, bundle, figures, card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=HERE / "mini.toml")
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    tokenizer, carried, aligned, meanings, checkpoint = (
        args.run / name for name in ("tokenizer.json", "carried.pt", "aligned.pt", "meanings.npz", "last.pt")
    )
    found, figures, proof = (args.run / name for name in ("found.json", "figures.json", "proof.txt"))
    data = ("--config", args.config, "--data", args.data)
    if not tokenizer.exists():
        run("tokenizer.py", args.data, tokenizer)
    shared = (*data, "--tokenizer", tokenizer)
    if not carried.exists():
        run("start.py", "--config", args.config, "--tokenizer", tokenizer, "--out", carried)
    if not aligned.exists():
        run("align.py", "--data", args.data, "--checkpoint", carried, "--tokenizer", tokenizer, "--out", aligned)
    controversial = args.run / "annotate" / "controversial.txt"
    if not controversial.exists():
        run("annotate.py", *shared, "--start", aligned, "--run", controversial.parent)
    teacher = args.run / "teacher.pt"
    if not teacher.exists():
        run("teach.py", *data, "--controversial", controversial, "--out", teacher)
    if not meanings.exists():
        run("meanings.py", *data, "--teacher", teacher, "--out", meanings)
    start, before = aligned, list[Path]()
    fixed = (*shared, "--meanings", meanings, "--controversial", controversial)
    for number, members in enumerate(tomllib.loads(args.config.read_text())["rounds"]):
        runs = trained(number, len(members["runs"]), start, args.run, fixed)
        start = args.run / f"after-{number}" / "last.pt"
        # The mean of the round before counts as one more run: what was learned so far is not lost in one round. The
        # first round has learned meanings alone, and no labels that could be lost.
        run("soup.py", "--out", start, *before, *runs)
        before = [start.parent] if number else []
    run("soup.py", "--out", checkpoint, start.parent)
    bundle = ("--config", args.config, "--checkpoint", checkpoint, "--tokenizer", tokenizer, "--found", found)
    found.write_text("{}")
    run("bundle.py", *bundle)
    found.write_text(run("evaluate.py", *data, "--calibrate"))
    proof.write_text(run("bundle.py", *bundle))
    run("evaluate.py", *data, "--json", figures)
    run("card.py", "--log", args.run / "log.jsonl", "--figures", figures, "--proof", proof)


if __name__ == "__main__":
    main()
