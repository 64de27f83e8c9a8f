"""Make tests/bundles/tiny: a real ONNX guard of a few kB whose scores can be worked out on paper.

Its graph sums a small table over the tokens so far, with the sum's terms kept as "keys and values": risk rises at
certain words and stays up. It shows every path of the runtime in milliseconds and judges nothing of worth.
Run `python scripts/tiny_bundle.py`; the result is committed.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "bundles" / "tiny"
CATEGORIES = (
    "Violent", "Sexual Content or Sexual Acts", "Suicide & Self-Harm", "Politically Sensitive Topics", "PII",
    "Copyright Violation", "Non-violent Illegal Acts", "Unethical Acts", "Jailbreak",
)  # fmt: skip
BIAS = (2.0, -1.0, -1.0)  # safe, unsafe, controversial
# What a word adds to the unsafe logit, to the controversial logit, and the category that it raises.
WORDS = {
    "bomb": (8.0, 0.0, 0), "kill": (5.0, 0.0, 0), "steal": (5.0, 0.0, 6), "jailbreak": (8.0, 0.0, 8),
    "rude": (0.0, 8.0, 7), "sad": (0.0, 5.0, 2), "notanumber": (math.nan, 0.0, 0),
}  # fmt: skip
TAGS = ("<|system|>", "<|prompt|>", "<|response|>")
WIDTH = 3 + len(CATEGORIES)


def alphabet() -> list[str]:
    """Return the 256 printable stand-ins of bytes that byte-level tokenizers use, in byte order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(rest)) for byte in range(256)]


def tokenizer() -> dict[str, object]:
    """Return a byte-level tokenizer whose only merges spell the words above, with and without a space before."""
    vocabulary = {token: index for index, token in enumerate(alphabet())}
    merges: list[list[str]] = []
    for word in WORDS:
        left = word[0]
        for letter in word[1:]:
            if [left, letter] not in merges:
                merges.append([left, letter])
            left += letter
            vocabulary.setdefault(left, len(vocabulary))
        merges.append(["Ġ", word])
        vocabulary["Ġ" + word] = len(vocabulary)
    pattern = r" ?[\p{L}\p{M}]{1,24}| ?\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]{1,8}|\s{1,16}"
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": len(vocabulary) + i, "content": tag, **flags} for i, tag in enumerate(TAGS)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }


def table(vocabulary: dict[str, int]) -> np.ndarray:
    """Return what each token adds, (tokens, WIDTH): safe, unsafe, controversial, then the categories."""
    rows = np.zeros((len(vocabulary) + len(TAGS), WIDTH), np.float32)
    for word, (unsafe, controversial, category) in WORDS.items():
        for token in (word, "Ġ" + word):
            rows[vocabulary[token], 1:3] = unsafe, controversial
            rows[vocabulary[token], 3 + category] = 6.0
    return rows


def graph(rows: np.ndarray) -> onnx.ModelProto:
    """Return the graph: gather, append to the past, sum along it, keep the new positions, split into heads."""
    constants = {
        "rows": rows,
        "bias": np.array([*BIAS, *[0.0] * len(CATEGORIES)], np.float32),
        "axis": np.array(2, np.int64), "one": np.array([1], np.int64), "two": np.array([2], np.int64),
        "end": np.array([2**62], np.int64), "zero": np.array([0], np.int64), "parts": np.array([3, 9], np.int64),
        "eight": np.array([8], np.int64), "last": np.array([-1], np.int64),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Gather", ["rows", "input_ids"], ["new"]),
        node("Unsqueeze", ["new", "one"], ["new4"]),
        node("Concat", ["past_key_values.0.key", "new4"], ["present.0.key"], axis=2),
        node("Concat", ["past_key_values.0.value", "new4"], ["present.0.value"], axis=2),
        node("CumSum", ["present.0.key", "axis"], ["sums"]),
        node("Shape", ["past_key_values.0.key"], ["past"], start=2, end=3),
        node("Slice", ["sums", "past", "end", "two"], ["fresh"]),
        node("Squeeze", ["fresh", "one"], ["fresh3"]),
        node("Add", ["fresh3", "bias"], ["logits"]),
        node("Split", ["logits", "parts"], ["prompt_risk", "prompt_category"], axis=2),
        node("Identity", ["prompt_risk"], ["response_risk"]),
        node("Slice", ["prompt_category", "zero", "eight", "last"], ["response_category"]),
    ]
    value = helper.make_tensor_value_info
    cached = [
        (f"{side}.0.{kind}", length)
        for side, length in (("past_key_values", "past"), ("present", "total"))
        for kind in ("key", "value")
    ]
    states = [value(name, TensorProto.FLOAT, ["batch", 1, length, WIDTH]) for name, length in cached]
    heads = [("prompt_risk", 3), ("prompt_category", 9), ("response_risk", 3), ("response_category", 8)]
    outputs = [value(name, TensorProto.FLOAT, ["batch", "new", size]) for name, size in heads]
    inputs = [value("input_ids", TensorProto.INT64, ["batch", "new"]), *states[:2]]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    body = helper.make_graph(nodes, "tiny", inputs, [*outputs, *states[2:]], initializers)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def golden(turns: list[tuple[str, str]], steps: list[tuple[float, float]]) -> dict[str, object]:
    """Return a golden line: `steps` are the sums of (unsafe, controversial) after each judged token, by hand."""
    safe, unsafe = [], []
    for up, sideways in steps:
        powers = [math.exp(v) for v in (BIAS[0], BIAS[1] + up, BIAS[2] + sideways)]
        safe.append(round(powers[0] / sum(powers), 6))
        unsafe.append(round(powers[1] / sum(powers), 6))
    return {"turns": [{"role": role, "text": text} for role, text in turns], "safe": safe, "unsafe": unsafe}


def goldens() -> list[dict[str, object]]:
    """Return texts whose tokens can be counted by eye: a letter is a token, a listed word is one."""
    calm, bomb = (0.0, 0.0), (8.0, 0.0)
    return [
        golden([("prompt", "ok")], [calm] * 2),
        golden([("prompt", "a bomb")], [calm, bomb]),
        golden([("prompt", "bomb kill")], [bomb, (13.0, 0.0)]),
        golden([("prompt", "ok"), ("response", "rude")], [(0.0, 8.0)]),
        golden([("prompt", "é")], [calm] * 2),
        golden([("prompt", "<|prompt|>")], [calm] * 10),
    ]


def outputs(role: str, categories: tuple[str, ...]) -> str:
    """Return the manifest's table of a role."""
    return f"""
[roles.{role}]
risk = "{role}_risk"
category = "{role}_category"
labels = ["safe", "unsafe", "controversial"]
categories = {json.dumps(list(categories))}
category_scores = "single"
trajectory = true
"""


def manifest(names: list[str]) -> str:
    """Return guard.toml for the files already written."""
    files = ""
    for name in names:
        data = (FOLDER / name).read_bytes()
        files += f'\n[files."{name}"]\nsize = {len(data)}\nsha256 = "{hashlib.sha256(data).hexdigest()}"\n'
    return (
        """# Written by scripts/tiny_bundle.py.
schema = 1
name = "tiny"
title = "Tiny sums, for tests"
status = "proven"
licence = "Apache-2.0"
languages = ["en"]
head = "stream"
window = 64
overlap = 16
rule = { kind = "hold", n = 2 }
golden_tolerance = 0.0001

[origin]
trained_by = "scripts/tiny_bundle.py"

[thresholds]
unsafe = 0.5
controversial = 0.5

[template]
kind = "tags"
system = "<|system|>"
prompt = "<|prompt|>"
response = "<|response|>"
"""
        + outputs("prompt", CATEGORIES)
        + outputs("response", CATEGORIES[:8])
        + f'\n[cache]\nlayers = 1\nheads = 1\nhead_dim = {WIDTH}\n\n[graphs.fp32]\nfile = "model.onnx"\n'
        + files
    )


def main() -> None:
    """Write the bundle."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    document = tokenizer()
    (FOLDER / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    vocabulary = document["model"]["vocab"]  # type: ignore[index]
    (FOLDER / "model.onnx").write_bytes(graph(table(vocabulary)).SerializeToString())
    lines = [json.dumps(line, ensure_ascii=False) for line in goldens()]
    (FOLDER / "golden.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copy(ROOT / "LICENSE", FOLDER / "LICENSE")
    (FOLDER / "guard.toml").write_text(manifest(["model.onnx", "tokenizer.json", "golden.jsonl", "LICENSE"]))


if __name__ == "__main__":
    main()
