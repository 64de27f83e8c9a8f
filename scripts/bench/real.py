"""Measure a guard of the size of Qwen3Guard-Stream 0.6B, with random weights: speed and numbers are real, verdicts not.

python scripts/bench/real.py [--precision fp32 int8] [--folder FOLDER]

Prints a Markdown table: export with its proof (time, most memory), start, 100 mixed texts, a step, and how far stepping
is from one prefill. Needs the export extra and, in fp32, about 12 GB of memory and 8 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
SHAPE: dict[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936, "max_position_embeddings": 8192,
    "rope_theta": 1_000_000.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
}  # fmt: skip
INNER = 512
GUARD = "qwen3guard-stream-0.6b"


def make(folder: Path) -> None:
    """Write the checkpoint: random weights of the published shapes, a small vocabulary."""
    import torch
    import transformers
    from checkpoints import CHATML, QWEN, Qwen3ForGuardModel, make_tokenizer, save_tokenizer
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    config = transformers.Qwen3Config(**SHAPE)
    torch.manual_seed(0)
    model = Qwen3ForGuardModel(config, INNER).to(torch.bfloat16)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
    described = config.to_dict() | {"architectures": ["Qwen3ForGuardModel"], "guard_inner_size": INNER}
    (folder / "config.json").write_text(json.dumps(described))
    save_tokenizer(folder, make_tokenizer(QWEN), CHATML)


def exported(checkpoint: Path, precision: str, out: Path) -> dict[str, Any]:
    """Export and prove; return the seconds, the most memory in GB and what the proof said."""
    from riskline.export.bundle import export
    from riskline.manifest import read_manifest

    start = time.perf_counter()
    recipe = read_manifest(ROOT / "models" / GUARD)
    _, proof = export(recipe, checkpoint, precision, out, force=True)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e9
    held = {"logits from PyTorch": proof.logit, f"labels differ, of {proof.texts}": proof.flips}
    return {"export with proof s": seconds, "export with proof GB": _peak(), "size GB": size} | held


def assembled(checkpoint: Path, precision: str, out: Path) -> dict[str, Any]:
    """Assemble the graph alone, without PyTorch: what an export needs before its proof."""
    from riskline.export.checkpoint import Checkpoint
    from riskline.export.decoder import Guarded, assemble
    from riskline.export.reference import HEADS

    out.mkdir(parents=True)
    start = time.perf_counter()
    assemble(Checkpoint.open(checkpoint), Guarded({f"{name}_head": name for name in HEADS}), precision, out)  # type: ignore[arg-type]
    return {"assemble s": time.perf_counter() - start, "assemble GB": _peak()}


def judged(out: Path) -> dict[str, Any]:
    """Load the bundle, judge 100 texts, step through one."""
    from riskline.guard import load

    start = time.perf_counter()
    guard = load(str(out), provider="cpu")
    found: dict[str, Any] = {"load s": time.perf_counter() - start}
    example = [json.loads(line) for line in (ROOT / "scripts" / "example.jsonl").read_text().splitlines()]
    texts = [str(line.get("prompt") or line.get("text") or next(iter(line.values()))) for line in example]
    hundred = [texts[index % len(texts)] for index in range(100)]
    found["positions"] = sum(len(guard.tokenizer.words(text)[0]) for text in hundred)
    lines = out.parent / "texts.jsonl"
    lines.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in hundred))
    command = [sys.executable, "-m", "riskline", "score", lines, "-o", out.parent / "verdicts.jsonl", "--guard", out]
    start = time.perf_counter()
    subprocess.run([*command, "--provider", "cpu"], check=True)
    found["score of 100 texts s"] = time.perf_counter() - start
    row = np.random.default_rng(0).integers(300, 600, 160).astype(np.int64)
    whole = guard.session.run([row], ("risk",))[0]["risk"]
    logits, state = guard.session.step(row[:128], None, ("risk",))
    parts, steps = [logits["risk"]], []
    for place in range(128, 160):
        start = time.perf_counter()
        logits, state = guard.session.step(row[place : place + 1], state, ("risk",))
        steps.append(time.perf_counter() - start)
        parts.append(logits["risk"])
    stepped = np.concatenate(parts)
    found["step ms"] = 1000 * float(np.median(steps))
    found["steps from prefill"] = float(np.abs(stepped - whole).max())
    found["argmax equal"] = bool((stepped.argmax(1) == whole.argmax(1)).all())
    return found | {"memory GB": _peak()}


def _peak() -> float:
    """The most memory of this process alone, in GB; getrusage counts the parent's before it was started."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e6


def _apart(job: Any, *arguments: Any) -> dict[str, Any]:
    """A job in a process of its own, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return dict(pool.apply(job, arguments))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", nargs="+", default=["fp32", "int8"])
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        checkpoint = Path(place) / "checkpoint"
        make(checkpoint)
        rows = {}
        for precision in args.precision:
            alone = _apart(assembled, checkpoint, precision, Path(place) / f"{precision}-alone")
            found = alone | _apart(exported, checkpoint, precision, Path(place) / precision)
            rows[precision] = found | _apart(judged, Path(place) / precision)
    print(
        f"Shapes of Qwen3Guard-Stream 0.6B, random weights; `scripts/bench/real.py`. {machine()}; "
        "seconds of 100 texts, a step after 128 tokens.\n"
    )
    print("| | " + " | ".join(rows) + " |\n" + "|---" * (len(rows) + 1) + "|")
    for key in next(iter(rows.values())):
        cells = [row[key] if not isinstance(row[key], float) else f"{row[key]:.3g}" for row in rows.values()]
        print(f"| {key} | " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
