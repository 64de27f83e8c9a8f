"""The corpus as rows: text, context, label, category, spans, and how often each row is drawn."""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

LABELS = ("safe", "unsafe", "controversial")  # logit order, as Qwen3Guard
CATEGORIES = (
    "Violent",
    "Sexual Content or Sexual Acts",
    "Suicide & Self-Harm",
    "Politically Sensitive Topics",
    "PII",
    "Copyright Violation",
    "Non-violent Illegal Acts",
    "Unethical Acts",
    "Jailbreak",
)
QUESTIONS = Path(__file__).parent / "questions.tsv"
"""What languages are measured by: each question in every language, and its `kind`, harmful or harmless."""
ANSWERED = Path(__file__).parent / "questions_answered.tsv"
"""The same of replies: `lang`, `kind`, `prompt`, `reply`."""
MEASURED = Path(__file__).parent / "measured.tsv"
"""English texts of several styles, and prompts of other languages that are nobody's translation: `kind`, `lang`,
`style`, `prompt` (empty where the text is no reply), `text`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text; `role` is prompt or response, comments being prompts."""

    source: str
    lang: str
    kind: str
    role: str
    prompt: str | None
    text: str
    label: int
    categories: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def digest(self) -> str:
        """What names the row in lists that must not hold its text."""
        return digest(f"{self.kind}\0{self.prompt or ''}\0{self.text}")


def digest(text: str) -> str:
    """Return twenty hexadecimal digits that name a text."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:20]


def read_rows(folder: Path, *, licence: str | None = "train") -> Iterator[Row]:
    """Yield the labelled rows of every file in `folder` that may be used for `licence`."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                value = orjson.loads(line)
                if value["label"] in LABELS and (licence is None or value["licence_use"] == licence):
                    yield _row(path.name.removesuffix(".jsonl.gz"), value)


def _row(source: str, value: dict[str, object]) -> Row:
    kind = str(value["role"])
    names = value.get("categories") or []
    return Row(
        source=source,
        lang=str(value["lang"]),
        kind=kind,
        role="response" if kind == "response" else "prompt",
        prompt=value["prompt"],  # type: ignore[arg-type]
        text=str(value["text"]),
        label=LABELS.index(str(value["label"])),
        categories=tuple(CATEGORIES.index(name) for name in names if name in CATEGORIES),  # type: ignore[attr-defined]
        spans=tuple((int(start), int(end)) for start, end in (value.get("spans") or [])),  # type: ignore[attr-defined]
    )


def key(text: str) -> str:
    """Return what two texts share that differ only in case, spaces and punctuation."""
    return "".join(character for character in text.lower() if character.isalnum())


def unseen_texts(data: Path) -> set[str]:
    """Return the keys of the texts that are for development only.

    Those are every text of sources without training rows, and the prompts before them. A prompt that training replies
    answer as well (the instructions of alpaca_eval) belongs to both.
    """
    trained = {path.name for path in (data / "train").glob("*.jsonl.gz")}
    rows = [row for row in read_rows(data / "dev", licence=None) if f"{row.source}.jsonl.gz" not in trained]
    shared = {key(row.prompt) for row in read_rows(data / "train") if row.prompt}
    return {key(row.text) for row in rows} | ({key(row.prompt) for row in rows if row.prompt} - shared)


def measured_texts() -> set[str]:
    """Return the keys of the texts that languages and styles are measured by, and of the prompts before those."""
    texts = [text for question in cells(QUESTIONS) for name, text in question.items() if name != "kind"]
    texts += [text for answer in cells(ANSWERED) for text in (answer["prompt"], answer["reply"])]
    texts += [text for written in cells(MEASURED) for text in (written["prompt"], written["text"]) if text]
    return {key(text) for text in texts}


def cells(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file of tab-separated cells, each by the names in the first line.

    A backslash and an n in a cell are a line feed; nothing stands for the two themselves.
    """
    header, *lines = (line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line)
    return [dict(zip(header, (cell.replace("\\n", "\n") for cell in line), strict=True)) for line in lines]


def training_rows(data: Path, made: Iterable[Row] = ()) -> list[Row]:
    """Return the rows to train on: the corpus, instructions that were answered harmlessly, and `made`.

    A row whose text stands in a source that is for development only is left out, and so is one whose text or prompt
    languages or styles are measured by.
    """
    measured, unseen = measured_texts(), unseen_texts(data)
    rows = list(read_rows(data / "train"))
    rows += instructions(rows)
    fit = (row for row in [*rows, *made] if len(text := key(row.text)) < 8 or text not in unseen)
    return [row for row in fit if not measured & {key(row.text), key(row.prompt or row.text)}]


def instructions(rows: list[Row]) -> list[Row]:
    """Return the instructions of alpaca_eval, which stand there as the prompts of replies, as safe prompts."""
    found = {row.prompt: row for row in rows if row.source == "alpaca_eval_responses" and row.prompt and not row.label}
    return [
        replace(row, source="alpaca_eval_instructions", kind="prompt", role="prompt", prompt=None, text=prompt)
        for prompt, row in found.items()
    ]


def weights(rows: list[Row], shares: dict[str, float], safe: dict[str, float], trust: dict[str, float]) -> list[float]:
    """Return how often each row is drawn, summing to 1.

    `shares` splits by kind, `safe` is the safe share within each. Within a kind and label a source counts by the square
    root of its rows times its trust (1 unless named), and within a source so does a language: no large source and no
    large language drowns the others. Where the people's texts in a language are risky more often than safe (French: the
    corpus has no other prompts), the safe ones count more, so that the language alone says nothing.
    """
    counts = Counter((row.kind, row.label, row.source, row.lang) for row in rows)
    sources: Counter[tuple[str, int, str]] = Counter()
    spread: defaultdict[tuple[str, int, str], float] = defaultdict(float)
    for (*group, _), count in counts.items():
        sources[tuple(group)] += count  # type: ignore[index]
        spread[tuple(group)] += count**0.5  # type: ignore[index]
    mass = {
        place: sources[place[:3]] ** 0.5 * trust.get(place[2], 1.0) * count**0.5 / spread[place[:3]]
        for place, count in counts.items()
    }
    mass = _shared(mass, shares, safe)
    natural: defaultdict[tuple[bool, str, bool], float] = defaultdict(float)  # replies have a head of their own
    for (kind, label, source, lang), value in mass.items():
        if not source.startswith("synthesis"):
            natural[kind == "response", lang, label == 0] += value
    for kind, label, source, lang in mass:
        harmless, risky = (natural[kind == "response", lang, is_safe] for is_safe in (True, False))
        if label == 0 and not source.startswith("synthesis") and harmless < risky:
            mass[kind, label, source, lang] *= risky / harmless
    mass = _shared(mass, shares, safe)
    return [mass[place] / counts[place] for row in rows for place in [(row.kind, row.label, row.source, row.lang)]]


def _shared(
    mass: dict[tuple[str, int, str, str], float], shares: dict[str, float], safe: dict[str, float]
) -> dict[tuple[str, int, str, str], float]:
    """Scale what is drawn so that every kind has its share, and the safe ones theirs within it."""
    totals: defaultdict[tuple[str, bool], float] = defaultdict(float)
    for (kind, label, _, _), value in mass.items():
        totals[kind, label == 0] += value
    return {
        place: value * shares[place[0]] * (safe[place[0]] if place[1] == 0 else 1 - safe[place[0]])
        / totals[place[0], place[1] == 0]
        for place, value in mass.items()
    }  # fmt: skip
