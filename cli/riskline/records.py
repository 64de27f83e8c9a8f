"""The nouns that flow through the rooms: turns, records, scores, verdicts and failures."""

from __future__ import annotations

import enum
import shlex
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from riskline.escape import visible

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats: TypeAlias = npt.NDArray[np.float64]
    RawFloats: TypeAlias = npt.NDArray[np.float32]
    Integers: TypeAlias = npt.NDArray[np.int64]

Role: TypeAlias = Literal["prompt", "response"]
TurnRole: TypeAlias = Literal["system", "prompt", "response"]
TrajectoryKind: TypeAlias = Literal["none", "tokens", "segments"]
RuleKind: TypeAlias = Literal["hold", "final", "max", "argmax-pairs"]
PairReading: TypeAlias = Literal["code", "report"]
Span: TypeAlias = tuple[int, int]
"""`[start, end)` in code points of the judged text as given."""


class Label(enum.IntEnum):
    """How risky a text is; labels are ordered, a higher one is worse."""

    safe = 0
    controversial = 1
    unsafe = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """A decision rule: how a series of token scores becomes one decision.

    `final` reads the last token, `max` the highest one, `hold` needs `n` adjacent tokens (all of them
    where a text is shorter). `argmax-pairs` knows no thresholds: it is Qwen3Guard's, on each token's likeliest label.
    Read as its authors' `code`, `n` adjacent tokens of one label decide, unsafe before controversial wherever they
    stand, and the positions that close the turn count; as their `report`, the first `n` adjacent tokens above safe.
    """

    kind: RuleKind = "hold"
    n: int = 2
    reading: PairReading = "code"

    def __str__(self) -> str:
        if self.kind == "argmax-pairs":
            return f"argmax-pairs n={self.n} reading={self.reading}"
        return f"hold n={self.n}" if self.kind == "hold" else self.kind


@dataclass(frozen=True, slots=True)
class Thresholds:
    """At which scores a label fires: `unsafe` on P(unsafe), `controversial` on 1 - P(safe)."""

    unsafe: float = 0.5
    controversial: float = 0.5


# --- where a text came from -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of a physical file: 1-based lines and columns in code points, the end column exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


class Place(Protocol):
    """Where the characters of a turn's text stand in the physical file."""

    def region(self, span: Span) -> Region:
        """Return the region of `span`, escapes and encodings of the file counted as they stand there."""
        ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Which record of which input: `path` as the user named it (`-` is stdin), the 1-based line it begins on.

    `by` says how `riskline trace` finds it again: as line `path:line`, by `path#id`, or as the whole file.
    """

    path: str
    line: int = 1
    id: str | None = None
    by: Literal["line", "id", "file"] = "line"

    @property
    def address(self) -> str:
        """The record's address with acting characters made visible: `data.jsonl:4711`, `chats.json#a1`, `note.txt`."""
        suffix = {"line": f":{self.line}", "id": f"#{self.id}", "file": ""}[self.by]
        return visible(self.path + suffix)

    @property
    def trace_command(self) -> str | None:
        """The command that shows this record's trajectory, to be pasted; None for stdin."""
        if self.path == "-":
            return None
        flag = "--file " if self.by == "file" else ""
        address = f"./{self.address}" if self.path.startswith("-") else self.address
        return f"riskline trace {flag}{shlex.quote(address)}"


# --- what is judged ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation; tool messages are prompts, developer messages are system.

    `reasoning` is what a model thought before it said `text`, for guards whose template has a place for it.
    """

    role: TurnRole
    text: str
    place: Place | None = None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One unit to judge: turns in order, and which of them are judged, each with the turns before it as context.

    `raw` is the input line's own bytes without its line end where the input is JSONL, the record as one line of JSON
    where it stood in another structured file; None for plain texts.
    `unseen` names the parts that a text guard cannot see, such as `image`.
    """

    turns: tuple[Turn, ...]
    origin: Origin = field(default_factory=lambda: Origin("-"))
    judged: tuple[int, ...] = (-1,)
    raw: bytes | None = None
    unseen: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str, *, role: Role = "prompt", prompt: str | None = None) -> Record:
        """Return a record of one text, a response optionally with the prompt that it answers."""
        context = () if prompt is None else (Turn("prompt", prompt),)
        return cls((*context, Turn(role, text)))


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that could not be judged: a stable code (`invalid-json`, `non-finite`, …) and what was found."""

    code: str
    message: str
    origin: Origin
    raw: bytes | None = None

    def to_json(self) -> dict[str, str]:
        """Return the `failure` object of the output."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Skip:
    """Something a folder walk passed over, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """The input format that `auto` chose for an input."""

    path: str
    format: str


# --- between a guard's rooms ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a rendered conversation: the template's own (`ours`) or the user's text (never a special token).

    `start` is where in the text as given a stripped one begins, in code points.
    """

    text: str
    ours: bool
    judged: bool = False
    start: int = 0


@dataclass(frozen=True, slots=True)
class Encoded:
    """A rendered conversation as token ids: `before` the judged text, `judged` with its code-point offsets, `after`.

    The first `constant` tokens of `before` are the template's alone, the same for every text.
    """

    before: Integers  # (before,)
    judged: Integers  # (tokens,)
    after: Integers  # (after,)
    offsets: Integers  # (tokens, 2)
    context_truncated: bool = False
    constant: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What a head wants scored next: one row of token ids and the graph outputs whose logits it needs.

    With `last`, only the logits of the last position are needed: the row is run on the keys and values of the longest
    beginning that it shares with the row before it, and the answer has one position.
    """

    ids: Integers  # (width,)
    outputs: tuple[str, ...]
    last: bool = False


Logits: TypeAlias = "Mapping[str, RawFloats]"
"""Raw outputs of one row, by output name: each (width, classes)."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What a head says of a judged text, before any policy; probabilities are rounded to 4 decimals.

    `trajectory` is False where the guard has one row for the whole text instead of one a token.
    """

    safe: Floats  # (tokens,)
    controversial: Floats | None  # (tokens,), None for two-class guards
    unsafe: Floats  # (tokens,)
    kinds: Floats  # (tokens, categories): P(risky and of this kind)
    categories: tuple[str, ...]
    offsets: Integers  # (tokens, 2)
    role: Role
    trajectory: bool = True
    windows: int = 1
    context_truncated: bool = False
    tokens: int | None = None
    """Judged tokens, where a row stands for more than one."""
    refusal: bool | None = None
    native: str | None = None
    """The guard's own words for what it found."""
    closing: Floats | None = None
    """Safe, controversial and unsafe at the positions that close the judged turn, (positions, 3)."""


HeadRun: TypeAlias = "Generator[Request, Logits, Scores]"
"""A head at work: yields what to score, receives logits, returns scores. `guard` drives it."""


# --- what comes out ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """A token of the trajectory: its index, its span in the judged text and its risk."""

    token: int
    span: Span
    risk: float


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Risk along the judged text, element i judging the text up to and including token (or segment) i."""

    offsets: tuple[Span, ...]
    risk: tuple[float, ...]
    unsafe: tuple[float, ...]
    category: tuple[str | None, ...]

    def to_json(self) -> dict[str, object]:
        """Return the `trajectory` object of the verdict record."""
        return {"offsets": self.offsets, "risk": self.risk, "unsafe": self.unsafe, "category": self.category}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The policy's decision on a record; fields as in the JSON record, spans in code points of the judged text."""

    label: Label
    risk: float
    judged: Role
    role: Role
    guard: str
    policy: str
    tokens: int
    at: int | None = None
    safe: float = 1.0
    controversial: float | None = None
    unsafe: float = 0.0
    category: str | None = None
    categories: Mapping[str, float | None] = field(default_factory=dict)
    refusal: bool | None = None
    native: str | None = None
    native_categories: Mapping[str, float | None] | None = None
    onset: Point | None = None
    fired: Point | None = None
    peak: Point | None = None
    windows: int = 1
    trajectory: Trajectory | None = None
    empty: bool = False
    context_truncated: bool = False
    unseen: tuple[str, ...] = ()
    turn: int = -1
    turns: tuple[Verdict, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the verdict record of schema 1 as a JSON-ready dictionary, key order as documented."""
        out: dict[str, object] = {
            "schema": 1,
            "label": self.label.name,
            "risk": self.risk,
            "at": self.at,
            "probabilities": {"safe": self.safe, "controversial": self.controversial, "unsafe": self.unsafe},
            "category": self.category,
            "categories": dict(self.categories),
            "judged": self.judged,
            "role": self.role,
            "refusal": self.refusal,
            "onset": _point(self.onset, with_risk=False),
            "fired": _point(self.fired, with_risk=False),
            "peak": _point(self.peak, with_risk=True),
            "tokens": self.tokens,
            "windows": self.windows,
            "guard": self.guard,
            "policy": self.policy,
        }
        out |= {key: True for key in ("empty", "context_truncated") if getattr(self, key)}
        if self.native is not None:
            out["native"] = self.native
        if self.native_categories is not None:
            out["native_categories"] = dict(self.native_categories)
        if self.unseen:
            out["unseen"] = self.unseen
        if self.turns:
            out["turn"] = self.turn
            out["turns"] = [{"turn": turn.turn, **turn.to_json()} for turn in self.turns]
        out["trajectory"] = self.trajectory.to_json() if self.trajectory else None
        return out


def _point(point: Point | None, *, with_risk: bool) -> dict[str, object] | None:
    if point is None:
        return None
    return {"token": point.token, "span": point.span} | ({"risk": point.risk} if with_risk else {})


@dataclass(frozen=True, slots=True)
class Judged:
    """A record and its verdict."""

    record: Record
    verdict: Verdict

    @property
    def turn(self) -> Turn:
        """The turn that the verdict is about."""
        return self.record.turns[self.verdict.turn]


Outcome: TypeAlias = Judged | Failure
Item: TypeAlias = Record | Failure | Skip | Chosen
"""What a source yields."""
Result: TypeAlias = Judged | Failure | Skip | Chosen
"""What becomes of an item."""


@dataclass(slots=True)
class Summary:
    """What a run did, counted as it goes; every record is in exactly one of `labels`, `failures` and `unseen`.

    `flagged` counts labels above safe of all of them: what was seen of a record with unseen parts counts as well.
    """

    labels: Counter[Label] = field(default_factory=Counter)
    flagged: Counter[Label] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    unseen: int = 0
    empty: int = 0
    windowed: int = 0
    context_truncated: int = 0
    cached: int = 0

    @property
    def judged(self) -> int:
        """How many records have a full verdict."""
        return self.labels.total()

    @property
    def not_judged(self) -> int:
        """How many records could not be judged, or only in part because of unseen parts."""
        return self.failures.total() + self.unseen

    def count(self, outcome: Outcome | Skip) -> None:
        """Count one outcome or skip."""
        if isinstance(outcome, Skip):
            self.skips[outcome.reason] += 1
        elif isinstance(outcome, Failure):
            self.failures[outcome.code] += 1
        else:
            self._count_verdict(outcome.verdict)

    def _count_verdict(self, verdict: Verdict) -> None:
        if verdict.unseen:
            self.unseen += 1
        else:
            self.labels[verdict.label] += 1
        if verdict.label > Label.safe:
            self.flagged[verdict.label] += 1
        self.empty += verdict.empty
        self.windowed += verdict.windows > 1
        self.context_truncated += verdict.context_truncated
