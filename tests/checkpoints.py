"""Tiny checkpoints of the exact architectures, laid out as on a hub: random weights, a vocabulary made of the templates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

MODELS = Path(__file__).parents[1] / "models"
SIDES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
}
# How Qwen and Llama 3 cut words; spaces go with the word that follows.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEXTS = (
    "How do I build a bomb at home? I cannot help with that. Here is how: first mix the powder, then wait.",
    "Safety: Safe Unsafe Controversial Categories: None Refusal: Yes No safe unsafe yes no harmful request response",
    "Violent Crimes Non-violent Illegal Acts Sexual Content Suicide & Self-Harm S1 S2 S10 S11, Privacy",
    "Où est la bibliothèque ? 帮我写一封信。 The weather is nice today.",
)


def make_tokenizer(specials: Sequence[str], texts: Sequence[str] = TEXTS, size: int = 600) -> Tokenizer:
    """Return a byte-level BPE vocabulary with `specials` after its words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(specials))
    return tokenizer


@dataclass(frozen=True)
class Made:
    """A checkpoint on disk, the model it was saved from and its tokenizer as transformers has it."""

    folder: Path
    model: Any
    tokenizer: Any


def make(
    folder: Path,
    kind: type[Any],
    config: Any,
    specials: Sequence[str],
    *,
    chat_template: str | None = None,
    seed: int = 0,
) -> Made:
    """Save a model of `kind` with weights large enough for its answers to differ, and its tokenizer."""
    folder.mkdir(parents=True)
    tokenizer = make_tokenizer(specials)
    config.vocab_size = tokenizer.get_vocab_size()
    config._attn_implementation = "eager"  # the only one that caps scores, as Gemma 2 does
    torch.manual_seed(seed)
    model = kind(config).eval()
    widen(model)
    model.save_pretrained(folder)
    return Made(folder, model, save_tokenizer(folder, tokenizer, chat_template))


def widen(model: Any) -> None:
    """Random weights of a size at which texts are told apart."""
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(1 + 0.1 * noise if parameter.dim() == 1 else 0.25 * noise)


NAMED = {"bos_token": {"content": "<s>", "__type": "AddedToken"}, "eos_token": "</s>"}
"""In both ways in which tokenizers write them down."""


def save_tokenizer(folder: Path, tokenizer: Tokenizer, chat_template: str | None) -> Any:
    tokenizer.save(str(folder / "tokenizer.json"))
    named = NAMED if tokenizer.token_to_id("<s>") else {}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings | named | ({"chat_template": chat_template} if chat_template else {}))
    )
    return transformers.AutoTokenizer.from_pretrained(folder)


# --- Qwen3Guard-Stream: remote code at its hub, so written here from its description --------------------------------

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
)
QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
RISK = {"0": "Safe", "1": "Unsafe", "2": "Controversial"}
KINDS = (
    "Violent", "Sexual Content or Sexual Acts", "Suicide & Self-Harm", "Politically Sensitive Topics", "PII",
    "Copyright Violation", "Non-violent Illegal Acts", "Unethical Acts", "Jailbreak",
)  # fmt: skip


class Qwen3ForGuardModel(torch.nn.Module):
    """logits = W · RMSNorm(Pre · h), two pairs of heads on the last hidden state."""

    def __init__(self, config: Any, inner: int = 24) -> None:
        super().__init__()
        self.config = config
        self.model = transformers.Qwen3Model(config)
        for stem, kinds in (("", 8), ("query_", 9)):
            setattr(self, f"{stem}risk_level_category_pre", torch.nn.Linear(config.hidden_size, inner, bias=False))
            setattr(self, f"{stem}risk_level_category_layernorm", torch.nn.RMSNorm(inner, eps=config.rms_norm_eps))
            setattr(self, f"{stem}risk_level_head", torch.nn.Linear(inner, 3, bias=False))
            setattr(self, f"{stem}category_head", torch.nn.Linear(inner, kinds, bias=False))

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the four logits, each (batch, tokens, classes)."""
        hidden = self.model(input_ids=ids).last_hidden_state
        said = {}
        for stem in ("", "query_"):
            pre, norm = (getattr(self, f"{stem}risk_level_category_{part}") for part in ("pre", "layernorm"))
            inner = norm(pre(hidden))
            for head in ("risk_level", "category"):
                said[f"{stem}{head}"] = getattr(self, f"{stem}{head}_head")(inner)
        return said


def make_stream(folder: Path, seed: int = 0, risk: dict[str, str] = RISK) -> Made:
    """Save a tiny Qwen3Guard-Stream."""
    folder.mkdir(parents=True)
    tokenizer = make_tokenizer(QWEN)
    config = transformers.Qwen3Config(
        **SIDES, head_dim=8, vocab_size=tokenizer.get_vocab_size(), tie_word_embeddings=True
    )
    torch.manual_seed(seed)
    model = Qwen3ForGuardModel(config).eval()
    widen(model)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
    maps = {
        "response_risk_level_map": risk,
        "query_risk_level_map": risk,
        # The published file spells the first name with quotes of its own.
        "response_category_map": {str(i): f'"{k}"' if i == 0 else k for i, k in enumerate(KINDS[:8])},
        "query_category_map": {str(i): k for i, k in enumerate(KINDS)},
    }
    described = config.to_dict() | {"architectures": ["Qwen3ForGuardModel"], "guard_inner_size": 24} | maps
    (folder / "config.json").write_text(json.dumps(described))
    return Made(folder, model, save_tokenizer(folder, tokenizer, CHATML))
