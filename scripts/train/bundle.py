"""A checkpoint becomes models/riskline-mini: graph, manifest, golden texts from PyTorch, and the proof of all three.

python scripts/train/bundle.py --config scripts/train/mini.toml --checkpoint RUN/last.pt \
    --tokenizer RUN/tokenizer.json [--found RUN/found.json]

`found` holds the temperatures and thresholds that evaluate.py found; without it they are 1 and 0.5.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import time
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compose import END
from corpus import CATEGORIES
from golden_texts import CONVERSATIONS, Conversation
from graph import HEADS, SHARED, Precision, Weights, assemble, shared, shipped
from model import Mini, Shape
from numpy.typing import NDArray
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
GRAPHS: dict[Precision, str] = {"int8": "model.onnx", "fp32": "model-fp32.onnx"}
FILES = (*GRAPHS.values(), SHARED, "tokenizer.json", "golden.jsonl", "LICENSE", "NOTICE")
BEFORE = "pytorch before its weights are rounded"
LAW = 1e-3
"""The largest difference of a probability that what follows a token, or its neighbours, may make."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The PyTorch model, the tokenizer that it was trained with, and that tokenizer without its tags."""

    model: Mini
    tags: Tokenizer
    words: Tokenizer

    @classmethod
    def load(cls, checkpoint: Path, tokenizer: Path, shape: Shape) -> Reference:
        """Return the reference in fp32; text is encoded without tags, so that it cannot spell one."""
        model = Mini(shape)
        model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["mean"])
        document = json.loads(tokenizer.read_text(encoding="utf-8"))
        words = Tokenizer.from_str(json.dumps({**document, "added_tokens": []}))
        return cls(model.eval(), Tokenizer.from_file(str(tokenizer)), words)

    def row(self, turns: Conversation) -> tuple[NDArray[np.int64], int]:
        """Return a conversation's ids and how many of the last are judged."""
        ids: list[int] = []
        judged = 0
        for place, (role, text) in enumerate(turns, 1):
            said = text.rstrip() if place == len(turns) else text
            words = self.words.encode(said, add_special_tokens=False).ids
            ids += [self.tags.token_to_id(f"<|{role}|>"), *words]
            judged = len(words)
        end = self.words.encode(END, add_special_tokens=False).ids
        return np.array([*ids, *end], np.int64), judged + len(end)

    def probabilities(self, ids: NDArray[np.int64], *, response: bool) -> NDArray[np.float64]:
        """Return P(safe, unsafe, controversial) after every position, (width, 3)."""
        with torch.no_grad():
            logits = self.model(torch.from_numpy(ids)[None])[0].double()
        first = 12 if response else 0
        return torch.softmax(logits[:, first : first + 3], -1).numpy()


class Runtime:
    """The graph in ONNX Runtime, one thread."""

    def __init__(self, path: Path, shape: Shape) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is first imported
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = [f"past_key_values.{i}.{kind}" for i in range(shape.layers) for kind in ("key", "value")]
        self.shape = shape

    def run(self, ids: NDArray[np.int64], past: list[NDArray[np.float32]] | None = None) -> list[NDArray[np.float32]]:
        """Return the four heads' logits and the state after `ids`, (batch, new)."""
        empty = np.zeros((len(ids), self.shape.heads, 0, self.shape.head_dim), np.float32)
        feeds = dict(zip(self.names, past or [empty] * len(self.names), strict=True))
        outputs = [*HEADS, *(name.replace("past_key_values", "present") for name in self.names)]
        return self.session.run(outputs, {"input_ids": ids, **feeds})

    def probabilities(self, ids: NDArray[np.int64], *, response: bool) -> NDArray[np.float64]:
        """Return P(safe, unsafe, controversial) after every position, (width, 3)."""
        return softmax(self.run(ids[None])[2 if response else 0][0])

    def stepped(self, ids: NDArray[np.int64], *, response: bool) -> NDArray[np.float64]:
        """Return the same, one token a run with the state handed on."""
        past, rows = None, []
        for token in ids:
            heads = self.run(np.array([[token]]), past)
            past = heads[4:]
            rows.append(heads[2 if response else 0][0])
        return softmax(np.concatenate(rows))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the softmax over the last axis, in double precision."""
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def prove(reference: Reference, runtime: Runtime, width: int, trained: Reference | None = None) -> dict[str, float]:
    """Return how far the graph is from PyTorch, and how far prefixes, steps and padding move a probability.

    `trained` is the model before its weights were rounded, from which the distance is told as well.
    """
    worst: dict[str, float] = defaultdict(float)
    for turns in CONVERSATIONS:
        ids, judged = reference.row(turns)
        ids, response = ids[:width], turns[-1][0] == "response"
        whole = runtime.probabilities(ids, response=response)
        padded = np.zeros((2, len(ids) + 7), np.int64)
        padded[0, : len(ids)] = ids
        head = 2 if response else 0
        cut = max(1, len(ids) - judged // 2)
        others = {
            "pytorch": (reference.probabilities(ids, response=response), whole),
            "prefix": (runtime.probabilities(ids[:cut], response=response), whole[:cut]),
            "step": (runtime.stepped(ids, response=response), whole),
            "padding": (softmax(runtime.run(padded)[head][0, : len(ids)]), whole),
        }
        if trained:
            others[BEFORE] = (trained.probabilities(ids, response=response), whole)
        for name, (one, two) in others.items():
            worst[name] = max(worst[name], float(np.nan_to_num(np.abs(one - two), nan=np.inf).max()))
    return worst


def timings(runtime: Runtime, lengths: tuple[int, ...] = (8, 16, 32, 128, 256)) -> dict[str, float]:
    """Return the median milliseconds of a run at several lengths, and of a step after 128 tokens."""
    generator, result = np.random.default_rng(0), {}
    for length in lengths:
        ids = generator.integers(300, 20_000, (1, length))
        result[f"{length} tokens"] = _median(lambda ids=ids: runtime.run(ids))
    past = runtime.run(generator.integers(300, 20_000, (1, 128)))[4:]
    result["a step after 128"] = _median(lambda: runtime.run(np.array([[500]]), past))
    return result


def _median(call: Any) -> float:
    times = []
    for _ in range(21):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(times), 2)


def goldens(reference: Reference) -> str:
    """Return golden.jsonl: what PyTorch in fp32 says of every judged token."""
    lines = []
    for turns in CONVERSATIONS:
        ids, judged = reference.row(turns)
        rows = reference.probabilities(ids, response=turns[-1][0] == "response")[-judged:].round(6)
        line = {
            "turns": [{"role": role, "text": text} for role, text in turns],
            "safe": rows[:, 0].tolist(),
            "unsafe": rows[:, 1].tolist(),
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def manifest(config: dict[str, Any], shape: Shape, folder: Path) -> str:
    """Return guard.toml for the files in `folder`."""
    facts = config["bundle"]
    text = f"""# Written by scripts/train/bundle.py.
schema = 1
name = "riskline-mini"
title = "Riskline mini, the embedded default"
status = "proven"
licence = "Apache-2.0"
languages = {json.dumps(facts["languages"])}
head = "stream"
window = {config["width"]}
overlap = {facts["overlap"]}
batch = {facts["batch"]}
rule = {{ kind = "hold", n = 2 }}
golden_tolerance = {facts["golden_tolerance"]}

[origin]
trained_by = "scripts/train"
config = "scripts/train/mini.toml"

[thresholds]
unsafe = {facts["unsafe"]}
controversial = {facts["controversial"]}

[template]
kind = "tags"
system = "<|system|>"
prompt = "<|prompt|>"
response = "<|response|>"
end = {json.dumps(END)}
"""
    for role, count in (("prompt", 9), ("response", 8)):
        text += f"""
[roles.{role}]
risk = "{role}_risk"
category = "{role}_category"
labels = ["safe", "unsafe", "controversial"]
categories = {json.dumps(CATEGORIES[:count])}
category_scores = "single"
trajectory = true
"""
        if own := facts.get(role):
            text += f"\n[roles.{role}.thresholds]\nunsafe = {own['unsafe']}\ncontroversial = {own['controversial']}\n"
    text += f"\n[cache]\nlayers = {shape.layers}\nheads = {shape.heads}\nhead_dim = {shape.head_dim}\n"
    for precision, name in GRAPHS.items():
        text += f'\n[graphs.{precision}]\nfile = "{name}"\n'
    for name in FILES:
        data = (folder / name).read_bytes()
        text += f'\n[files."{name}"]\nsize = {len(data)}\nsha256 = "{hashlib.sha256(data).hexdigest()}"\n'
    return text


def calibrated(weights: Weights, config: dict[str, Any]) -> Weights:
    """Return the weights with the heads' calibration folded in: logits divided by their role's temperature."""
    weights = {name: value.float().clone() for name, value in weights.items()}
    for name, (first, last) in {"prompt": (0, 12), "response": (12, 23)}.items():
        temperature = config["bundle"].get("temperature", {}).get(name, 1.0)
        weights["head.weight"][first:last] /= temperature
        weights["head.bias"][first:last] /= temperature
    return weights


def build(config: dict[str, Any], reference: Reference, tokenizer: Path, folder: Path) -> dict[Precision, Runtime]:
    """Write every file of the bundle and return its graphs, loaded; the reference has the shipped weights then."""
    shape = Shape(**config["shape"])
    weights = calibrated(reference.model.state_dict(), config)
    reference.model.load_state_dict(shipped(weights))
    folder.mkdir(parents=True, exist_ok=True)
    models = {precision: assemble(weights, shape, precision) for precision in GRAPHS}
    (folder / SHARED).write_bytes(shared(models.values()))
    for precision, name in GRAPHS.items():
        (folder / name).write_bytes(models[precision].SerializeToString())
    document = json.loads(tokenizer.read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), "utf-8")
    (folder / "golden.jsonl").write_text(goldens(reference), encoding="utf-8")
    shutil.copy(ROOT / "LICENSE", folder / "LICENSE")
    shutil.copy(Path(__file__).parent / "NOTICE", folder / "NOTICE")
    (folder / "guard.toml").write_text(manifest(config, shape, folder), encoding="utf-8")
    return {precision: Runtime(folder / name, shape) for precision, name in GRAPHS.items()}


def main() -> None:
    """Write the bundle and print its proof; exit 1 if a law does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--found", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "riskline-mini")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = tomllib.loads(args.config.read_text())
    if args.found:
        config["bundle"] |= json.loads(args.found.read_text())
    reference = Reference.load(args.checkpoint, args.tokenizer, Shape(**config["shape"]))
    tolerance = config["bundle"]["golden_tolerance"]
    trained = Reference.load(args.checkpoint, args.tokenizer, Shape(**config["shape"]))
    trained.model.load_state_dict(calibrated(trained.model.state_dict(), config))
    for precision, runtime in build(config, reference, args.tokenizer, args.out).items():
        worst = prove(reference, runtime, config["width"], trained)
        for name, value in worst.items():
            print(f"{precision}: largest difference of a probability, {name}: {value:.6f}")
        for name, value in timings(runtime).items():
            print(f"{precision}: median ms on one thread, {name}: {value}")
        if (
            max(worst["pytorch"], worst[BEFORE]) > tolerance
            or max(worst[law] for law in ("prefix", "step", "padding")) > LAW
        ):
            raise SystemExit(f"the {precision} graph is not what was trained, or breaks a law; it must not ship")


if __name__ == "__main__":
    main()
