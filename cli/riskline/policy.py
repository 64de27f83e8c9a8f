"""Scores to a verdict: thresholds, decision rules, strict and loose readings, categories ignored or escalated."""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import numpy as np
import orjson

from riskline.errors import ConfigurationError, GuardError
from riskline.manifest import Manifest, read_rule
from riskline.records import Label, Point, Role, Rule, Scores, Thresholds, Trajectory, TrajectoryKind, Verdict
from riskline.table import Table
from riskline.trajectory import fires, level, pairs, segment_peaks, segments

if TYPE_CHECKING:
    import numpy.typing as npt

    from riskline.records import Floats

_NAME = re.compile(r"[A-Za-z0-9._-]+")
Reading: TypeAlias = Literal["three", "strict", "loose"]
"""What becomes of controversial: kept as a label, read as unsafe (strict), or read as safe (loose)."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """Thresholds of a policy file; None leaves the guard's own."""

    unsafe: float | None = None
    controversial: float | None = None

    def over(self, thresholds: Thresholds) -> Thresholds:
        """Return `thresholds` with what is set here in their place."""
        unsafe = thresholds.unsafe if self.unsafe is None else self.unsafe
        controversial = thresholds.controversial if self.controversial is None else self.controversial
        return Thresholds(unsafe, controversial)


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules from scores to a verdict. What is not set is the guard's own: its decision rule and its thresholds.

    `ignore` names categories whose findings count as safe, `escalate` those whose controversial ones count as unsafe.
    """

    name: str = "default"
    reading: Reading = "three"
    rule: Rule | None = None
    thresholds: Overrides = field(default_factory=Overrides)
    roles: Mapping[Role, Overrides] = field(default_factory=dict)
    ignore: frozenset[str] = frozenset()
    escalate: frozenset[str] = frozenset()
    id: str = field(init=False, compare=False)
    """Name and eight digits of a hash over everything that the policy sets; every verdict names it."""

    def __post_init__(self) -> None:
        facts = {
            "reading": self.reading,
            "rule": str(self.rule),
            "thresholds": [self.thresholds.unsafe, self.thresholds.controversial],
            "roles": {role: [o.unsafe, o.controversial] for role, o in sorted(self.roles.items())},
            "ignore": sorted(self.ignore),
            "escalate": sorted(self.escalate),
        }
        object.__setattr__(self, "id", f"{self.name}@{hashlib.sha256(orjson.dumps(facts)).hexdigest()[:8]}")

    def limits(self, manifest: Manifest, role: Role) -> Thresholds:
        """Return the thresholds in force for a guard and role: the role's over the policy's over the guard's."""
        return self.roles.get(role, Overrides()).over(self.thresholds.over(manifest.limits(role)))

    def rule_for(self, manifest: Manifest) -> Rule:
        """Return the decision rule in force for a guard."""
        return self.rule or manifest.rule

    def check(self, manifest: Manifest) -> None:
        """Refuse categories that the guard does not have, before any record is judged.

        Raises:
            ConfigurationError: a category to ignore or escalate is none of the guard's.
        """
        set_here = [self.thresholds, *self.roles.values()]
        if self.rule_for(manifest).kind == "argmax-pairs" and any(o != Overrides() for o in set_here):
            raise ConfigurationError(
                f"policy `{self.name}` sets thresholds, and the rule argmax-pairs of {manifest.name} knows none",
                hint='put a rule that does into a policy file: rule = { kind = "hold", n = 2 }',
            )
        known = {category for outputs in manifest.roles.values() for category in outputs.categories}
        if unknown := sorted((self.ignore | self.escalate) - known):
            raise ConfigurationError(
                f"policy `{self.name}` names the category `{unknown[0]}`; "
                f"{manifest.name} has: {', '.join(sorted(known))}"
            )


BUILT_IN = {
    "default": Policy(),
    "strict": Policy("strict", reading="strict"),
    "loose": Policy("loose", reading="loose"),
}


def load_policy(name_or_file: str) -> Policy:
    """Return a built-in policy by name, or the policy in a TOML file.

    Raises:
        ConfigurationError: there is neither, or the file has an unknown or wrong key.
    """
    if name_or_file in BUILT_IN:
        return BUILT_IN[name_or_file]
    path = Path(name_or_file)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return _policy(path.stem, Table(document, str(path)))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"`{path}` is not TOML: {error}") from error
    except (OSError, ValueError) as error:  # a name with a NUL in it, or a file that is no text
        names = ", ".join(BUILT_IN)
        raise ConfigurationError(
            f"no policy `{name_or_file}`: it is none of {names}, and no text file of that name can be read"
        ) from error
    except GuardError as error:  # the table reader's own
        raise ConfigurationError(error.message) from error


def _policy(stem: str, table: Table) -> Policy:
    roles: dict[Role, Overrides] = {}
    for key, role in table.table("roles").tables() if table.has("roles") else ():
        if key not in get_args(Role):
            raise table.wrong("roles", key, "prompt or response")
        roles[cast("Role", key)] = _overrides(role)
    policy = Policy(
        name=table.matching("name", _NAME, "letters, digits, `.`, `_` and `-`") if table.has("name") else _plain(stem),
        reading=cast("Reading", table.choice("reading", get_args(Reading))) if table.has("reading") else "three",
        rule=read_rule(table.table("rule")) if table.has("rule") else None,
        thresholds=_overrides(table.table("thresholds")) if table.has("thresholds") else Overrides(),
        roles=roles,
        ignore=frozenset(table.texts("ignore") if table.has("ignore") else ()),
        escalate=frozenset(table.texts("escalate") if table.has("escalate") else ()),
    )
    table.done()
    return policy


def _plain(stem: str) -> str:
    """A file's name as a policy's: it stands in every verdict, where nothing may act."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem) or "policy"


def _overrides(table: Table) -> Overrides:
    read: Any = {key: table.fraction(key) for key in ("unsafe", "controversial") if table.has(key)}
    table.done()
    return Overrides(**read)


# --- deciding ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judge:
    """A policy applied to one guard's scores."""

    manifest: Manifest
    policy: Policy
    trajectory: TrajectoryKind = "none"
    names: Mapping[str, str | None] | None = None
    """Other names for the guard's categories; None for one that has no other."""
    sparing: bool = False
    """Whether a guard that has to be asked along the text is asked so only where the whole is flagged."""

    def decide(self, scores: Scores, text: str) -> Verdict:
        """Return the verdict on `text`; label and risk do not depend on `trajectory` or on names."""
        verdict = self._decide(scores, text)
        return verdict if self.names is None else _renamed(verdict, self.names)

    def _decide(self, scores: Scores, text: str) -> Verdict:
        risk = np.round(1 - scores.safe, 4)
        rule = self._rule(scores)
        at = len(risk) - 1 if self._last(scores) else level(risk, rule)
        kinds = {name: None if math.isnan(value) else value for name, value in self._kinds(scores, at)}
        ignored = self._ignored(scores)
        raw, run = self._label(scores, risk, rule, ignored)
        # Where the riskiest token's kind is ignored, the run that fired says which kind it is of.
        named = run[1] if run and ignored[at] else at
        category = _largest(dict(self._kinds(scores, named)))
        label = self._relabel(raw, category)
        verdict = Verdict(
            label=label,
            risk=float(risk[at]),
            judged=scores.role,
            role=scores.role,
            guard=self.manifest.id,
            policy=self.policy.id,
            tokens=len(scores.offsets) if scores.tokens is None else scores.tokens,
            refusal=scores.refusal,
            native=scores.native,
            at=at if scores.trajectory else None,
            safe=float(scores.safe[at]),
            controversial=None if scores.controversial is None else float(scores.controversial[at]),
            unsafe=float(scores.unsafe[at]),
            category=category if label > Label.safe else None,
            categories=kinds,
            windows=scores.windows,
            context_truncated=scores.context_truncated,
        )
        return (
            self._along(verdict, scores, risk, run if label > Label.safe else None, text)
            if scores.trajectory
            else verdict
        )

    def _kinds(self, scores: Scores, at: int) -> Iterable[tuple[str, float]]:
        return zip(scores.categories, scores.kinds[at].tolist(), strict=True)

    def _last(self, scores: Scores) -> bool:
        """Whether the last row alone is the verdict: the others, if any, are what shorter texts would get."""
        return not scores.trajectory or self.manifest.ended(scores.role)

    def _rule(self, scores: Scores) -> Rule:
        return self.rule_of(scores.role) if scores.trajectory else self._final()

    def rule_of(self, role: Role) -> Rule:
        """Return the rule by which a role's trajectory becomes a label; the end alone counts where it is read there."""
        return self._final() if self.manifest.ended(role) else self.policy.rule_for(self.manifest)

    def _final(self) -> Rule:
        rule = self.policy.rule_for(self.manifest)
        return rule if rule.kind == "argmax-pairs" else Rule("final")

    def empty(self, role: Role) -> Verdict:
        """Return the verdict on an empty or blank text, which no model has to see."""
        verdict = Verdict(
            label=Label.safe,
            risk=0.0,
            judged=role,
            role=role,
            guard=self.manifest.id,
            policy=self.policy.id,
            tokens=0,
            controversial=0.0 if Label.controversial in self.manifest.roles[role].labels else None,
            categories=dict.fromkeys(self.manifest.roles[role].categories, 0.0),
            empty=True,
        )
        return verdict if self.names is None else _renamed(verdict, self.names)

    def _ignored(self, scores: Scores) -> npt.NDArray[np.bool_]:
        """Which tokens are most of all of a kind that the policy ignores, (tokens,)."""
        if not self.policy.ignore or not scores.categories:
            return np.zeros(len(scores.safe), bool)
        ignored = np.array([category in self.policy.ignore for category in scores.categories])
        return np.asarray(ignored[scores.kinds.argmax(axis=1)])

    def _label(
        self, scores: Scores, risk: Floats, rule: Rule, ignored: npt.NDArray[np.bool_]
    ) -> tuple[Label, tuple[int, int] | None]:
        """The label before its reading, and the (onset, fired) tokens of the run that gave it."""
        if rule.kind == "argmax-pairs":
            return _paired(scores, rule, ignored, last=self._last(scores))
        limits = self.policy.limits(self.manifest, scores.role)
        # An ignored token breaks a run but hides no other: a text may hold harm of several kinds.
        if run := fires(np.where(ignored, -1.0, scores.unsafe), limits.unsafe, rule):
            return Label.unsafe, run
        if scores.controversial is not None and (
            run := fires(np.where(ignored, -1.0, risk), limits.controversial, rule)
        ):
            return Label.controversial, run
        return Label.safe, None

    def _relabel(self, label: Label, category: str | None) -> Label:
        if label is Label.controversial:
            if self.policy.reading == "strict" or category in self.policy.escalate:
                return Label.unsafe
            if self.policy.reading == "loose":
                return Label.safe
        return label

    def _along(self, verdict: Verdict, scores: Scores, risk: Floats, run: tuple[int, int] | None, text: str) -> Verdict:
        onset, fired = (_point(scores, risk, token) for token in run) if run else (None, None)
        return replace(
            verdict,
            onset=onset,
            fired=fired,
            peak=_point(scores, risk, int(np.argmax(risk))),
            trajectory=trajectory(scores, risk, text, self.trajectory),
        )


def _renamed(verdict: Verdict, names: Mapping[str, str | None]) -> Verdict:
    """The verdict in another taxonomy's words; of several categories with one counterpart the highest counts."""
    kinds: dict[str, float | None] = {}
    for name, value in verdict.categories.items():
        if (other := names.get(name)) is not None:
            known = [one for one in (kinds.get(other), value) if one is not None]
            kinds[other] = max(known) if known else None
    along = verdict.trajectory
    if along is not None:
        along = replace(along, category=tuple(name and names.get(name) for name in along.category))
    return replace(
        verdict,
        category=verdict.category and names.get(verdict.category),
        categories=kinds,
        native_categories=verdict.categories,
        trajectory=along,
    )


def _paired(
    scores: Scores, rule: Rule, ignored: npt.NDArray[np.bool_], *, last: bool
) -> tuple[Label, tuple[int, int] | None]:
    """The label that adjacent tokens' likeliest labels give, or the `last` one's, and its run among judged tokens."""
    middle = np.zeros_like(scores.safe) if scores.controversial is None else scores.controversial
    rows = np.stack((scores.safe, middle, scores.unsafe), axis=1)
    rows[ignored] = (1.0, 0.0, 0.0)
    if rule.reading == "code" and scores.closing is not None and not last:
        rows = np.concatenate((rows, scores.closing))
    # Where two are level the first in logit order wins, and unsafe stands before controversial there.
    order = np.array([Label.safe, Label.unsafe, Label.controversial])
    labels = order[rows[:, order].argmax(axis=1)]
    if last:
        return Label(int(labels[-1])), fires((labels > 0).astype(np.float64), 1.0, Rule("final"))
    if (found := pairs(labels, rule)) is None:
        return Label.safe, None
    end = len(scores.safe) - 1
    return Label(found[2]), (min(found[0], end), min(found[1], end))


def trajectory(scores: Scores, risk: Floats, text: str, kind: TrajectoryKind) -> Trajectory | None:
    """Return risk along `text` by tokens or by segments; a segment carries the scores of its highest token."""
    if kind == "none":
        return None
    if kind == "tokens":
        spans, tokens = list(map(tuple, scores.offsets.tolist())), np.arange(len(risk))
    else:
        peaks = segment_peaks(segments(text), scores.offsets, risk)
        spans, tokens = [span for span, _ in peaks], np.array([token for _, token in peaks])
    kinds = scores.kinds[tokens]
    # A safe stretch has no kind: the category head says which one only given that there is a risk.
    named = [scores.categories[i] for i in kinds.argmax(axis=1)] if scores.categories else [None] * len(tokens)
    risks = risk[tokens].tolist()
    return Trajectory(
        offsets=tuple(spans),
        risk=tuple(risks),
        unsafe=tuple(scores.unsafe[tokens].tolist()),
        category=tuple(
            name if value >= 0.5 and known else None
            for name, value, known in zip(named, risks, [bool(np.isfinite(row).all()) for row in kinds], strict=True)
        ),
    )


def _largest(kinds: Mapping[str, float]) -> str | None:
    known = {kind: value for kind, value in kinds.items() if not math.isnan(value)}
    return max(known, key=lambda kind: known[kind]) if known else None


def _point(scores: Scores, risk: Floats, token: int) -> Point:
    start, end = scores.offsets[token].tolist()
    return Point(token, (start, end), float(risk[token]))
