"""A checkpoint becomes a bundle: graph, tokenizer, template, goldens, manifest, and the proof against PyTorch."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from riskline.catalog import Bundle
from riskline.errors import GuardError, OutputError, RecordError
from riskline.export.checkpoint import Checkpoint, read_json
from riskline.export.decoder import Classifier, Guarded, Precision, Rows, assemble
from riskline.export.reference import Reference, names_of_heads
from riskline.guard import Guard, load
from riskline.heads.decision import script
from riskline.manifest import MANIFEST, Manifest, read_manifest
from riskline.policy import Judge, Policy
from riskline.records import Label, Role, Scores, Turn
from riskline.tokenizer import Tokenizer

GRAPH = "model.onnx"
TOLERANCES = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.5, "int4": 2.0}
"""The largest difference of a logit from PyTorch's with which a precision counts as proven."""
TEXTS = "golden_texts.jsonl"


@dataclass(frozen=True, slots=True)
class Proof:
    """An exported graph held against PyTorch: texts, largest differences of a logit and a score, labels that differ."""

    precision: str
    texts: int
    logit: float
    score: float
    flips: int

    @property
    def holds(self) -> bool:
        """Whether the graph says what PyTorch says, within the precision's tolerance."""
        return (
            self.texts > 0
            and self.logit <= TOLERANCES[self.precision]
            and (self.flips == 0 or self.precision != "fp32")
        )

    def __str__(self) -> str:
        said = "as PyTorch" if self.holds else "NOT as PyTorch"
        return (
            f"{self.precision}: {self.texts} texts, largest difference of a logit {self.logit:.2g} "
            f"(tolerance {TOLERANCES[self.precision]:g}), of a score {self.score:.2g}, "
            f"{self.flips} labels differ: {said}"
        )


def export(
    recipe: Manifest, folder: Path, precision: Precision, out: Path, *, commit: str | None = None, force: bool = False
) -> tuple[Manifest, Proof]:
    """Make a bundle of the checkpoint in `folder` as `recipe` says, prove it, and put it in place at `out`.

    Raises:
        GuardError: the checkpoint is not what the recipe is for, cannot be assembled, or fails its proof unforced.
        OutputError: the bundle cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as staging:
            made = Path(staging) / out.name
            made.mkdir()
            proof = _make(recipe, folder, precision, made, commit)
            if not proof.holds and not force:
                raise GuardError(f"the exported graph fails its proof and is not installed: {proof}", hint="--force")
            _replace(made, out)
    except OSError as error:
        raise OutputError(f"`{out}` could not be written: {error.strerror or error}") from error
    return read_manifest(out), proof


def _replace(made: Path, out: Path) -> None:
    if out.exists():
        out.rename(made.parent / "replaced")
    made.rename(out)


def _make(recipe: Manifest, folder: Path, precision: Precision, made: Path, commit: str | None) -> Proof:
    checkpoint = Checkpoint.open(folder)
    document: dict[str, Any] = tomllib.loads((recipe.folder / MANIFEST).read_text(encoding="utf-8"))
    _check_architecture(recipe, checkpoint)
    _own_maps(document, checkpoint)
    _window(document, checkpoint)
    tokenizer = _tokenizer(folder, made)
    _template(document, recipe, folder, made)
    _added(document, tokenizer)
    for name in ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY.md"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, made / name)
    document["rows"] = _rows(document, made, tokenizer)
    document["graphs"] = {precision: {"file": GRAPH}}
    document["origin"] |= {"exporter": f"riskline {version('riskline')}"} | ({"revision": commit} if commit else {})
    (made / "golden.jsonl").write_bytes(b"")
    _assemble(document, checkpoint, precision, made)
    return _prove(document, folder, precision, made)


def _check_architecture(recipe: Manifest, checkpoint: Checkpoint) -> None:
    found = (checkpoint.config.get("architectures") or ["none"])[0]
    if (expected := recipe.origin.get("architecture")) and found != expected:
        raise GuardError(f"the checkpoint is a {found}; `{recipe.name}` is for a {expected}")


def _window(document: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Read no further at once than the checkpoint learned positions for."""
    most = checkpoint.config.get("max_position_embeddings")
    if isinstance(most, int) and most < document["window"]:
        document["window"], document["overlap"] = most, min(document["overlap"], most // 2)


def _own_maps(document: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Take the labels and categories of Qwen3Guard's heads from the checkpoint, which knows their order best."""
    for role, stem in (("response", "response"), ("prompt", "query")):
        outputs = document["roles"].get(role)
        for key, name in (("labels", "risk_level_map"), ("categories", "category_map")):
            known: Mapping[str, str] | None = checkpoint.config.get(f"{stem}_{name}")
            if not outputs or not known or document["head"] != "stream":
                continue
            values = [known[index].strip('"') for index in sorted(known, key=int)]
            if key == "labels" and not {v.lower() for v in values} <= set(Label.__members__):
                raise GuardError(f"the checkpoint's {stem}_{name} is {values}; expected Safe, Unsafe and Controversial")
            outputs[key] = [value.lower() for value in values] if key == "labels" else values


def _tokenizer(folder: Path, made: Path) -> Tokenizer:
    source = folder / "tokenizer.json"
    if not source.is_file():
        _, transformers = _transformers()
        try:
            transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(made / "slow")
        except Exception as error:
            raise GuardError(f"`{folder}` has no tokenizer.json, and none can be made: {error}") from error
        source = made / "slow" / "tokenizer.json"
    shutil.copyfile(source, made / "tokenizer.json")
    shutil.rmtree(made / "slow", ignore_errors=True)
    return Tokenizer.load(made / "tokenizer.json")


def _transformers() -> tuple[Any, Any]:
    from riskline.export.reference import _libraries

    return _libraries()


def _template(document: dict[str, Any], recipe: Manifest, folder: Path, made: Path) -> None:
    name = str(recipe.template.file)
    if recipe.template.source == "bundle":
        shutil.copyfile(recipe.folder / name, made / name)
        return
    source = _chat_template(folder)
    (made / name).write_text(source, encoding="utf-8")
    del document["template"]["from"]
    named = {key: value for key, value in _named_tokens(folder).items() if key in source}
    if "strftime_now" in source:  # a verdict shall not change with the day
        named["today"] = date.today().isoformat()
    if named:
        document["template"]["arguments"] = named | document["template"].get("arguments", {})


def _named_tokens(folder: Path) -> dict[str, str]:
    """The tokens that a chat template may name, `bos_token` say, as the checkpoint's tokenizer calls them."""
    found: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            for key, value in read_json(folder / file).items():
                text = value.get("content") if isinstance(value, dict) else value
                if key.endswith("_token") and isinstance(text, str):
                    found[key] = text
    return found


def _chat_template(folder: Path) -> str:
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    try:
        template = orjson.loads((folder / "tokenizer_config.json").read_bytes()).get("chat_template")
    except (OSError, orjson.JSONDecodeError) as error:
        raise GuardError(f"`{folder}` has no chat template: {error}") from error
    if not isinstance(template, str):
        raise GuardError(f"`{folder}` has no single chat template; expected one in tokenizer_config.json")
    return template


def _added(document: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Answers that are tokens which the checkpoint adds to its vocabulary: pairs of safe and unsafe, by their place."""
    names = [name for name, _ in sorted(tokenizer.special.items(), key=lambda item: item[1])]
    for outputs in document["roles"].values():
        for step in outputs.get("steps", ()):
            if (place := step.pop("added", None)) is not None:
                if len(names) < -place:
                    raise GuardError(f"the checkpoint adds {len(names)} tokens; expected at least {-place}")
                step["answers"] = {names[place]: "safe", names[place + 1]: "unsafe"}


def _rows(document: dict[str, Any], made: Path, tokenizer: Tokenizer) -> list[int]:
    if document["head"] != "decision":
        return []
    manifest = _written(document | {"graphs": {}, "files": {}}, made)
    needed = [script(outputs, tokenizer.phrase, ()).needed for outputs in manifest.roles.values()]
    return sorted(set[int]().union(*needed))


def _assemble(document: dict[str, Any], checkpoint: Checkpoint, precision: Precision, made: Path) -> None:
    manifest = _written(document | {"graphs": {}, "files": {}}, made)
    outputs = next(iter(manifest.roles.values()))
    if outputs.at == "whole":
        from riskline.export.encoder import assemble_encoder

        assemble_encoder(checkpoint, outputs.risk, precision, made)
        return
    heads: dict[str, Rows | Classifier | Guarded] = {
        "stream": Guarded({f"{name}_head": output for name, output in names_of_heads(manifest).items()}),
        "sequence": Classifier(outputs.risk),
        "decision": Rows(outputs.risk, manifest.rows),
    }
    cache = assemble(checkpoint, heads[manifest.head], precision, made)
    document["cache"] = {"layers": cache.layers, "heads": cache.heads, "head_dim": cache.head_dim}


def _prove(document: dict[str, Any], folder: Path, precision: Precision, made: Path) -> Proof:
    """Judge the golden texts with PyTorch, write what it says beside the graph, and judge them with the graph."""
    reference = _guard(document, made, None)
    reference = replace(reference, session=Reference(reference.manifest, folder))  # type: ignore[arg-type]
    lines, expected = [], []
    for turns in _texts(reference.manifest):
        scores = reference.score([turns])[0]
        if isinstance(scores, Scores):
            lines.append(_golden(turns, scores))
            expected.append(
                (turns, scores, reference.session.run([_row(reference, turns)], _names(reference, turns))[0])
            )
    if not lines:
        raise GuardError(f"PyTorch could judge none of the golden texts: {scores}")
    (made / "golden.jsonl").write_bytes(b"".join(lines))
    guard = _guard(document, made, precision)
    proof = _compared(guard, precision, expected)
    document["status"] = "proven" if proof.holds else "unproven"
    document["missing"] = document.get("missing", "") if not proof.holds else ""
    document["origin"]["proof"] = str(proof)
    if not document["missing"]:
        del document["missing"]
    document["golden_tolerance"] = {"fp32": 0.001, "fp16": 0.02, "int8": 0.2, "int4": 0.5}[precision]
    _written(document | {"files": _facts(made)}, made)
    return proof


def _compared(guard: Guard, precision: str, expected: Sequence[tuple[tuple[Turn, ...], Scores, Any]]) -> Proof:
    judge = Judge(guard.manifest, Policy())
    logit = score = 0.0
    flips = 0
    for turns, theirs, logits in expected:
        ours = guard.score([turns])[0]
        if isinstance(ours, RecordError):
            raise GuardError(f"the graph cannot judge a golden text: {ours}")
        said = guard.session.run([_row(guard, turns)], list(logits))[0]
        logit = max(logit, *(float(np.abs(said[name] - logits[name]).max()) for name in logits))
        score = max(
            score, float(np.abs(ours.unsafe - theirs.unsafe).max()), float(np.abs(ours.safe - theirs.safe).max())
        )
        flips += judge.decide(ours, turns[-1].text).label != judge.decide(theirs, turns[-1].text).label
    return Proof(precision, len(expected), logit, score, flips)


def _row(guard: Guard, turns: Sequence[Turn]) -> Any:  # noqa: ANN401
    encoded = guard.encode(turns)
    return np.concatenate((encoded.before, encoded.judged, encoded.after))


def _names(guard: Guard, turns: Sequence[Turn]) -> tuple[str, ...]:
    from riskline.heads.stream import names_of

    role: Role = "response" if turns[-1].role == "response" else "prompt"
    return names_of(guard.manifest.roles[role])


def _texts(manifest: Manifest) -> list[tuple[Turn, ...]]:
    found = []
    for line in files("riskline.export").joinpath(TEXTS).read_bytes().splitlines():
        value = orjson.loads(line)
        turns = [Turn("prompt", value["prompt"])] + (
            [Turn("response", value["response"])] if "response" in value else []
        )
        if turns[-1].role in manifest.roles:
            found.append(tuple(turns))
    return found


def _golden(turns: Sequence[Turn], scores: Scores) -> bytes:
    said = [{"role": turn.role, "text": turn.text} for turn in turns]
    line = {"turns": said, "safe": scores.safe.tolist(), "unsafe": scores.unsafe.tolist()}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _guard(document: dict[str, Any], made: Path, precision: str | None) -> Guard:
    """The bundle as far as it is written; without a precision, one whose session is still to come."""
    manifest = _written(document | {"files": _facts(made)}, made)
    if precision:
        return load(Bundle(manifest, precision), provider="cpu")
    tokenizer = Tokenizer.load(made / "tokenizer.json")
    scripts = {
        role: script(outputs, tokenizer.phrase, manifest.rows)
        for role, outputs in manifest.roles.items()
        if outputs.steps
    }
    return Guard(Bundle(manifest, ""), tokenizer, None, 1, scripts)  # type: ignore[arg-type]


def _facts(made: Path) -> dict[str, Any]:
    out = {}
    for path in sorted(made.iterdir()):
        if path.name != MANIFEST and path.is_file():
            with path.open("rb") as data:
                out[path.name] = {
                    "size": path.stat().st_size,
                    "sha256": hashlib.file_digest(data, "sha256").hexdigest(),
                }
    return out


def _written(document: Mapping[str, Any], made: Path) -> Manifest:
    """Write the manifest and read it back: what is exported is what can be loaded."""
    import tomli_w

    kept = {key: value for key, value in document.items() if value not in ([], {})}
    (made / MANIFEST).write_text(tomli_w.dumps(kept), encoding="utf-8")
    return read_manifest(made)
