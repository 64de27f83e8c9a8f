"""guard.toml as a typed value; errors name the key, what was found and what was expected."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from riskline.errors import GuardError
from riskline.records import Label, PairReading, Role, Rule, RuleKind, Thresholds
from riskline.table import Table

MANIFEST = "guard.toml"
CategoryScores: TypeAlias = Literal["single", "multi", "none"]
LabelScores: TypeAlias = Literal["softmax", "highest"]
"""`softmax` over the label logits, or unsafe = the highest of independent categories."""
Place: TypeAlias = Literal["text", "end", "whole"]
"""Where a head is read: at every judged token, at the first position after them, or once for the whole row."""
Reads: TypeAlias = Literal["label", "categories", "category", "refusal", "other"]
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Step:
    """A place in a generative guard's answer: the words before it, and what may stand there and what that means.

    `label`: one of the labels. `categories`: a list, its parts apart by `separator`, followed by one of `ends`; `none`
    stands there for a safe text, for which the step is left out otherwise. `category`: whether the category
    `category` is there, safe or unsafe. `refusal`: yes or no. `other`: said because what follows stands on it.
    Before there are weights, `added` may stand for the answers: the place of the first of two tokens, safe and unsafe,
    among the ones that the checkpoint adds to its vocabulary.
    """

    before: str
    reads: Reads
    answers: Mapping[str, str]
    category: str | None = None
    separator: str | None = None
    none: str | None = None
    ends: tuple[str, ...] = ()
    added: int | None = None


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the graph says of one role: output names, and what each logit means, in logit order.

    Several logits may mean one label; their probabilities add up. A generative guard has `steps` instead of an order.
    `thresholds` are the role's own, where they are not the guard's.
    """

    risk: str
    category: str | None
    labels: tuple[Label, ...]
    categories: tuple[str, ...]
    category_scores: CategoryScores
    trajectory: bool
    label_scores: LabelScores = "softmax"
    at: Place = "text"
    steps: tuple[Step, ...] = ()
    thresholds: Thresholds | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """How turns become a row.

    `tags`: each turn is the special token of its role and its text; where there is an `end`, those words take the
    place of white space after the judged text, and their first token is the trajectory's last, so that a rule over
    adjacent tokens can tell what the last word alone says. `jinja`: a chat template in `file` gets `messages` and
    `arguments`; `strip` where the guard's own template trims texts; `pair` where one message holds the
    prompt and the response; `taxonomy` where it lists categories, by their codes; `guideline` where a user may say what
    to judge by, the dotted name of an argument; in a table it stands there alone. From the `checkpoint` comes a
    template that is not known before. `messages` are (role, content) where the guard's caller composes what the
    template gets: a content is a template of `prompt`, `response`, `judged` and the arguments, and the role `turns`
    stands for the conversation as it is. A message without content is left out.
    """

    kind: str
    tags: Mapping[str, str]
    file: str | None = None
    strip: bool = False
    pair: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    source: str = "bundle"
    guideline: str | None = None
    taxonomy: Mapping[str, str] | None = None
    messages: tuple[tuple[str, str], ...] = ()
    end: str | None = None


@dataclass(frozen=True, slots=True)
class Cache:
    """The graph's keys and values: `layers` pairs, each (batch, heads, past, head_dim)."""

    layers: int
    heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a bundle file must be."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A guard on disk: what its files are and what its numbers mean."""

    folder: Path
    digest: str
    name: str
    title: str
    status: str
    missing: str | None
    licence: str
    languages: tuple[str, ...]
    head: str
    window: int
    overlap: int
    rule: Rule
    thresholds: Thresholds
    golden_tolerance: float
    template: Template
    roles: Mapping[Role, Outputs]
    cache: Cache | None
    graphs: Mapping[str, str]
    files: Mapping[str, FileFacts]
    origin: Mapping[str, str]
    rows: tuple[int, ...] = ()
    """The vocabulary's ids whose logits the graph gives, in order; empty where it gives classes."""
    batch: int = 1
    """How many texts of like length share a run on the CPU: more than one where that is faster and changes no score."""

    def limits(self, role: Role) -> Thresholds:
        """Return the role's own thresholds, or the guard's."""
        own = self.roles[role].thresholds if role in self.roles else None
        return own or self.thresholds

    @property
    def complete(self) -> bool:
        """Whether there are weights; a manifest without any says how to make them of a checkpoint."""
        return bool(self.graphs)

    @property
    def id(self) -> str:
        """Name and the first eight digits of the manifest's hash, which covers every file's hash."""
        return f"{self.name}@{self.digest[:8]}"

    def ended(self, role: Role) -> bool:
        """Whether a text of this role is judged at its end alone; what a trajectory has before are shorter texts'."""
        return self.head == "decision" or self.roles[role].at != "text"

    @property
    def described(self) -> bool:
        """Whether this is all there is of it: its architecture is not one that can be exported."""
        return self.origin.get("exportable") == "no" and not self.complete

    @property
    def takes_categories(self) -> bool:
        """Whether its template lists categories of a user's, and its answers, if they name any, are by their codes."""
        codes = self.template.taxonomy
        steps = [step for outputs in self.roles.values() for step in outputs.steps if step.reads == "categories"]
        return codes is not None and all(codes.keys() <= {answer.strip() for answer in s.answers} for s in steps)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions there are graphs for, the default first."""
        return tuple(self.graphs)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of the bundle in `folder`.

    Raises:
        GuardError: there is no manifest, or a key of it is missing, unknown or wrong.
    """
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
        document = tomllib.loads(data.decode())
    except OSError as error:
        raise GuardError(f"cannot read `{path}`: {error.strerror}", hint="riskline guards") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GuardError(f"`{path}` is not TOML: {error}") from error
    return _manifest(folder, hashlib.sha256(data).hexdigest(), Table(document, str(path)))


def _manifest(folder: Path, digest: str, table: Table) -> Manifest:
    if (schema := table.integer("schema")) != 1:
        raise table.wrong("schema", schema, "1, the only schema this version reads")
    cache = table.table("cache") if table.has("cache") else None
    manifest = Manifest(
        folder=folder,
        digest=digest,
        name=table.matching("name", _NAME, "lower-case letters, digits, `.` and `-`"),
        title=table.text("title"),
        status=table.choice("status", ("proven", "unproven")),
        missing=table.text("missing") if table.has("missing") else None,
        licence=table.text("licence"),
        languages=table.texts("languages"),
        head=table.text("head"),
        window=table.integer("window", least=8),
        overlap=table.integer("overlap", least=0),
        rule=read_rule(table.table("rule")),
        thresholds=read_thresholds(table.table("thresholds")),
        golden_tolerance=table.fraction("golden_tolerance"),
        template=_template(table.table("template")),
        roles=_roles(table.table("roles")),
        cache=_cache(cache) if cache else None,
        graphs={key: _graph(graph) for key, graph in table.optional("graphs").tables()},
        files=_files(table.optional("files")),
        origin=table.table("origin").all_texts(),
        rows=table.integers("rows") if table.has("rows") else (),
        batch=table.integer("batch", least=1) if table.has("batch") else 1,
    )
    table.done()
    _consistent(manifest, table)
    return manifest


def _consistent(manifest: Manifest, table: Table) -> None:
    if not manifest.complete and "hub" not in manifest.origin:
        raise table.wrong("graphs", "no table", "at least one, such as [graphs.fp32], or a `hub` under [origin]")
    needed = [*manifest.graphs.values(), "tokenizer.json", "golden.jsonl"] if manifest.complete else []
    for name in needed + ([manifest.template.file] if manifest.template.file and manifest.complete else []):
        if name not in manifest.files:
            raise table.wrong("files", "no entry", f'a size and sha256 under [files."{name}"]')
    if manifest.overlap * 2 > manifest.window:
        raise table.wrong("overlap", manifest.overlap, f"at most half the window ({manifest.window // 2})")


def read_rule(table: Table) -> Rule:
    """Return the decision rule of a `rule` table."""
    kind = cast("RuleKind", table.choice("kind", get_args(RuleKind)))
    n = table.integer("n", least=1) if kind in ("hold", "argmax-pairs") else 1
    reading = cast("PairReading", table.choice("reading", get_args(PairReading))) if kind == "argmax-pairs" else "code"
    rule = Rule(kind, n, reading)
    table.done()
    return rule


def read_thresholds(table: Table) -> Thresholds:
    """Return the thresholds of a table with `unsafe` and `controversial`."""
    thresholds = Thresholds(table.fraction("unsafe"), table.fraction("controversial"))
    table.done()
    return thresholds


def _template(table: Table) -> Template:
    kind = table.choice("kind", ("tags", "jinja"))
    if kind == "tags":
        tags = {role: table.text(role) for role in ("system", "prompt", "response") if table.has(role)}
        template = Template(kind, tags, end=table.text("end") if table.has("end") else None)
    else:
        template = Template(
            kind,
            {},
            file=_inside(table.text("file"), table),
            strip=table.boolean("strip") if table.has("strip") else False,
            pair=table.boolean("pair") if table.has("pair") else False,
            guideline=table.text("guideline") if table.has("guideline") else None,
            source=table.choice("from", ("bundle", "checkpoint")) if table.has("from") else "bundle",
            arguments=table.optional("arguments").values(),
            taxonomy=table.optional("taxonomy").all_texts() if table.has("taxonomy") else None,
            messages=tuple(map(_message, table.list_of_tables("messages"))) if table.has("messages") else (),
        )
    table.done()
    return template


def _message(table: Table) -> tuple[str, str]:
    role = table.choice("role", ("system", "user", "assistant", "turns"))
    message = (role, table.text("content") if role != "turns" else "")
    table.done()
    return message


def _roles(table: Table) -> dict[Role, Outputs]:
    roles: dict[Role, Outputs] = {}
    for key, role in table.tables():
        if key not in get_args(Role):
            raise table.wrong(key, "a role", "prompt or response")
        roles[cast("Role", key)] = _outputs(role)
    if not roles:
        raise table.wrong("roles", "no table", "[roles.prompt], [roles.response] or both")
    return roles


def _outputs(table: Table) -> Outputs:
    scores = cast("CategoryScores", table.choice("category_scores", get_args(CategoryScores)))
    labels = table.texts("labels")
    if not {"safe", "unsafe"} <= set(labels) <= set(Label.__members__):
        raise table.wrong("labels", labels, "safe, unsafe and perhaps controversial, in logit order")
    steps = tuple(_step(step) for step in table.list_of_tables("steps")) if table.has("steps") else ()
    outputs = Outputs(
        risk=table.text("risk"),
        category=table.text("category") if scores != "none" and not steps else None,
        labels=tuple(Label[label] for label in labels),
        categories=() if scores == "none" else table.texts("categories"),
        category_scores=scores,
        trajectory=table.boolean("trajectory"),
        label_scores=cast("LabelScores", table.choice("label_scores", get_args(LabelScores)))
        if table.has("label_scores")
        else "softmax",
        at=cast("Place", table.choice("at", get_args(Place))) if table.has("at") else "text",
        steps=steps,
        thresholds=read_thresholds(table.table("thresholds")) if table.has("thresholds") else None,
    )
    table.done()
    return outputs


def _step(table: Table) -> Step:
    reads = cast("Reads", table.choice("reads", get_args(Reads)))
    step = Step(
        before=table.text("before"),
        reads=reads,
        answers=table.table("answers").all_texts() if not table.has("added") else {},
        category=table.text("category") if reads == "category" else None,
        separator=table.text("separator") if reads == "categories" else None,
        none=table.text("none") if table.has("none") else None,
        ends=table.texts("ends") if table.has("ends") else (),
        added=table.integer("added") if table.has("added") else None,
    )
    if len(step.answers) < 2 and step.added is None:
        raise table.wrong("answers", dict(step.answers), "at least two answers and what each means")
    meanings = {"label": set(Label.__members__), "category": {"safe", "unsafe"}, "refusal": {"yes", "no"}}
    if wrong := sorted(set(step.answers.values()) - meanings.get(reads, set(step.answers.values()))):
        raise table.wrong("answers", wrong[0], " or ".join(sorted(meanings[reads])))
    table.done()
    return step


def _cache(table: Table) -> Cache:
    cache = Cache(table.integer("layers", least=1), table.integer("heads", least=1), table.integer("head_dim", least=1))
    table.done()
    return cache


def _files(table: Table) -> dict[str, FileFacts]:
    files = {}
    for key, facts in table.tables():
        _inside(key, table)
        files[key] = FileFacts(
            size=facts.integer("size", least=0),
            sha256=facts.matching("sha256", _SHA256, "64 hexadecimal digits"),
        )
        facts.done()
    return files


def _graph(table: Table) -> str:
    name = _inside(table.text("file"), table)
    table.done()
    return name


def _inside(name: str, table: Table) -> str:
    """A bundle's files lie flat in its folder: no path of a manifest can point outside it."""
    if not name or name != Path(name).name or name in (".", "..") or "\\" in name or "\0" in name:
        raise table.wrong("file", name, "the plain name of a file in the bundle's folder")
    return name
