"""What transformers itself says: a guard's graph replaced by PyTorch, everything else of the guard unchanged."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from riskline.errors import GuardError
from riskline.export.checkpoint import Checkpoint
from riskline.manifest import Manifest
from riskline.records import Logits
from riskline.session import Kept

if TYPE_CHECKING:
    from riskline.records import Integers

HEADS = ("risk_level", "category", "query_risk_level", "query_category")
"""The four heads of Qwen3Guard-Stream by the names of their tensors."""


class Reference:
    """Stands where a session does: rows in, logits out, each row on its own."""

    provider = "cpu"
    stateful = False

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self._torch, transformers = _libraries()
        self._manifest = manifest
        load: dict[str, Any] = {"torch_dtype": self._torch.float32, "local_files_only": True, "use_safetensors": True}
        load["attn_implementation"] = "eager"  # the others leave out what some families do to their scores
        names = {"sequence": "AutoModelForSequenceClassification", "decision": "AutoModelForCausalLM"}
        try:
            model = getattr(transformers, names.get(manifest.head, "AutoModel")).from_pretrained(folder, **load).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise GuardError(f"transformers cannot load `{folder}`: {error}") from error
        self._said: Callable[[Any], dict[str, Any]] = _Worded(model, manifest)
        if manifest.head == "stream":
            self._said = _Guarded(self._torch, model, Checkpoint.open(folder), manifest)
        elif manifest.head == "sequence":
            self._said = _Classified(model, manifest)

    def run(self, rows: Sequence[Integers], outputs: Sequence[str]) -> list[Logits]:
        """Return each row's logits, each (width, classes)."""
        found: list[Logits] = []
        with self._torch.inference_mode():
            for row in rows:
                said = self._said(self._torch.from_numpy(np.array(row, np.int64)[None]))
                found.append({name: said[name][0].float().numpy() for name in outputs})
        return found

    def follow(self, _before: Kept | None, ids: Integers, outputs: Sequence[str]) -> tuple[Logits, Kept]:
        """Return the logits of the last position of a row, run whole."""
        [logits] = self.run([ids], outputs)
        return {name: values[-1:] for name, values in logits.items()}, Kept(ids, {})


def _libraries() -> tuple[Any, Any]:
    try:
        torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    except ImportError as error:
        raise GuardError(
            "export needs PyTorch and transformers", hint='pip install torch "riskline[export]"'
        ) from error
    transformers.logging.set_verbosity_error()
    return torch, transformers


class _Guarded:
    """Qwen3Guard-Stream: a plain decoder and the documented heads, logits = W · RMSNorm(Pre · h)."""

    def __init__(self, torch: Any, model: Any, checkpoint: Checkpoint, manifest: Manifest) -> None:  # noqa: ANN401
        self._torch, self._model = torch, model
        self._epsilon = float(checkpoint.config["rms_norm_eps"])
        stems = {"": "", "query_": "query_"}
        self._parts = {
            stem: [
                torch.from_numpy(checkpoint.tensor(f"{stem}risk_level_category_{part}.weight"))
                for part in ("pre", "layernorm")
            ]
            for stem in stems
        }
        self._heads = {name: torch.from_numpy(checkpoint.tensor(f"{name}_head.weight")) for name in HEADS}
        self._names = names_of_heads(manifest)

    def __call__(self, ids: Any) -> dict[str, Any]:  # noqa: ANN401
        hidden = self._model(input_ids=ids).last_hidden_state
        said = {}
        for name, output in self._names.items():
            pre, scale = self._parts["query_" if name.startswith("query_") else ""]
            inner = hidden @ pre.T
            inner = inner * self._torch.rsqrt(inner.pow(2).mean(-1, keepdim=True) + self._epsilon) * scale
            said[output] = inner @ self._heads[name].T
        return said


class _Classified:
    """A classifier of transformers: of every position where the guard reads them all, else what it pools."""

    def __init__(self, model: Any, manifest: Manifest) -> None:  # noqa: ANN401
        self._model = model
        outputs = next(iter(manifest.roles.values()))
        self._output, self._whole = outputs.risk, outputs.at == "whole"

    def __call__(self, ids: Any) -> dict[str, Any]:  # noqa: ANN401
        if self._whole:
            return {self._output: self._model(input_ids=ids).logits[:, None, :]}
        body = getattr(self._model, self._model.base_model_prefix)
        return {self._output: self._model.score(body(input_ids=ids).last_hidden_state)}


class _Worded:
    """A language model's logits of the ids that a verdict needs."""

    def __init__(self, model: Any, manifest: Manifest) -> None:  # noqa: ANN401
        self._model, self._ids = model, list(manifest.rows)
        self._output = next(iter(manifest.roles.values())).risk

    def __call__(self, ids: Any) -> dict[str, Any]:  # noqa: ANN401
        return {self._output: self._model(input_ids=ids).logits[..., self._ids]}


def names_of_heads(manifest: Manifest) -> dict[str, str]:
    """Return the graph's output of each of Qwen3Guard-Stream's heads that the manifest reads."""
    found: dict[str, str] = {}
    for role, outputs in manifest.roles.items():
        stem = "query_" if role == "prompt" else ""
        found[f"{stem}risk_level"] = outputs.risk
        if outputs.category:
            found[f"{stem}category"] = outputs.category
    return found
