"""Teach the model under its causal mask what all-MiniLM-L6-v2 makes of whole texts, before any label is learned.

python scripts/train/distill.py --config scripts/train/mini.toml --data CORPUS --tokenizer RUN/tokenizer.json \
    --start RUN/aligned.pt --run RUN/distilled

The first layers lose much of what they knew when they no longer see what follows. Here the state of a text's end learns
the embedding that the untouched model, all its layers and both directions, gives to the text; where the words of an
English text are replaced by another language's, still that of the English one.

Reimers and Gurevych 2020, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation".
"""

from __future__ import annotations

import random
import signal
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import synthesize
import torch
from compose import END, grouped
from corpus import Row, digest
from lexicon import Lexicon
from model import Mini, Shape
from numpy.typing import NDArray
from start import source_folder
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from train import Training, arguments

LONGEST = 400
"""Characters of a text that are read."""
POOL = 4096
"""Texts that are sorted by length together."""


@dataclass(frozen=True, slots=True)
class Meant:
    """A text as our tokens, its tag and end included, and which text's meaning it has."""

    ids: list[int]
    text: int


def english(rows: list[Row]) -> list[str]:
    """Return the English texts and prompts among the rows, each once."""
    texts = (text for row in rows if row.lang == "en" for text in (row.text, row.prompt) if text and text.strip())
    return list(dict.fromkeys(text[:LONGEST] for text in texts))


def meanings(texts: list[str], path: Path) -> NDArray[np.float16]:
    """Return the embeddings of the texts by all-MiniLM-L6-v2, (texts, hidden), of length 1; kept in `path`, an .npz."""
    name = digest("\0".join(texts))
    if path.exists():
        kept = np.load(path)
        if str(kept["texts"]) == name:
            found: NDArray[np.float16] = kept["meanings"]
            return found
    from transformers import AutoModel

    model = AutoModel.from_pretrained(source_folder()).eval()
    source = Tokenizer.from_file(str(source_folder() / "tokenizer.json"))
    source.no_padding()
    source.enable_truncation(128)
    out = np.zeros((len(texts), model.config.hidden_size), np.float16)
    ids = [encoding.ids for encoding in source.encode_batch(texts)]
    order = sorted(range(len(texts)), key=lambda index: len(ids[index]))
    while order:
        size = max(1, 8192 // len(ids[order[-1]]))
        chosen, order = order[-size:], order[:-size]
        batch = nn.utils.rnn.pad_sequence([torch.tensor(ids[index]) for index in chosen], batch_first=True)
        mask = (batch > 0).long()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            states = model(input_ids=batch, attention_mask=mask).last_hidden_state.float()
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        out[chosen] = functional.normalize(mean, dim=-1).half().numpy()
    partly = path.with_suffix(".partly.npz")
    np.savez(partly, texts=name, meanings=out)
    partly.replace(path)
    return out


class Reading(Mini):
    """The model with what reads a meaning from a state; it starts as the state itself."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.read = nn.Linear(shape.hidden, shape.hidden)
        nn.init.eye_(self.read.weight)
        nn.init.zeros_(self.read.bias)


class Distilling(Training):
    """A run whose loss is how far the states of texts' ends are from their meanings."""

    model: Reading

    def __init__(self, config: dict[str, Any], run: Path, start: Path, goals: NDArray[np.float16]) -> None:
        super().__init__(config, run, None, Reading)
        self.goals = goals
        if not self.step:
            state = torch.load(start, map_location=self.device, weights_only=True)["model"]
            self.model.load_state_dict(state, strict=False)

    def learn(self, examples: list[Any], done: float) -> tuple[float, float]:
        """Take one step and return one minus the mean cosine at the texts' ends, and at their last words."""
        ids = nn.utils.rnn.pad_sequence([torch.tensor(meant.ids) for meant in examples], batch_first=True)
        places, ends = torch.arange(len(examples)), torch.tensor([len(meant.ids) - 1 for meant in examples])
        goals = torch.from_numpy(self.goals[[meant.text for meant in examples]]).float().to(self.device)
        with torch.autocast(self.device, torch.bfloat16):
            states = self.model.hidden(ids.to(self.device), self.config["dropout"])
        end, last = (
            1 - functional.cosine_similarity(self.model.read(states[places, at].float()), goals).mean()
            for at in (ends, ends - 1)
        )
        self.advance(end + 0.5 * last, ids.numel(), done)
        return end.item(), last.item()

    def learned(self) -> dict[str, Tensor]:
        """Return the mean of the weights without what reads meanings."""
        return {name: value for name, value in self.mean.items() if not name.startswith("read.")}


def batches(texts: list[str], tokenizer: Tokenizer, config: dict[str, Any], seed: int) -> Iterator[list[Meant]]:
    """Yield batches of texts of like length, half of them with their words in another language."""
    rng, lexicon = random.Random(seed), Lexicon()
    tags = [int(tokenizer.token_to_id(f"<|{role}|>") or 0) for role in ("prompt", "prompt", "response")]
    end = tokenizer.encode(END, add_special_tokens=False).ids
    while True:
        pool = []
        for text in rng.sample(range(len(texts)), min(POOL, len(texts))):
            written = lexicon.translated(texts[text], rng) if rng.random() < config["translated"] else texts[text]
            ids = tokenizer.encode(written, add_special_tokens=False).ids[: config["width"] - 2]
            pool.append(Meant([rng.choice(tags), *ids, *end], text))
        yield from grouped(pool, config["tokens"], rng)


def main() -> None:
    """Distil, or go on."""
    args = arguments(__doc__).parse_args()
    config = tomllib.loads(args.config.read_text())
    config |= config["distill"]
    args.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config["threads"])
    texts = english(synthesize.known(args.data, config))
    goals = meanings(texts, args.run / "meanings.npz")
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    training = Distilling(config, args.run, args.start, goals)
    signal.signal(signal.SIGTERM, training.stop)
    training.over(batches(texts, tokenizer, config, config["seed"] + training.step), None)
    training.require_end()
    torch.save({"model": training.learned()}, args.run / "start.pt")


if __name__ == "__main__":
    main()
