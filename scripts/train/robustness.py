"""Measure what a user meets beside plain texts: long documents, positions, hidden words, mixed languages, onsets.

python scripts/train/robustness.py --data CORPUS [--guard models/riskline-mini] [--json FILE]

Everything is judged by the default policy. Harmful texts are English prompts of s_eval and jailbreakbench, of which no
row was trained on, and of ailuminate_demo's development part; harmless ones are those of alpaca_prompts.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from pydoc_data.topics import topics
from sys import version_info

from corpus import CATEGORIES, LABELS, Row, read_rows
from obfuscate import KINDS

from riskline.guard import Guard, load
from riskline.policy import Policy
from riskline.records import Failure, Label, Record, Verdict

SAFE, UNSAFE = LABELS.index("safe"), LABELS.index("unsafe")
HARMFUL = ("s_eval", "jailbreakbench", "ailuminate_demo")
PROSE = ("xquad", "t0_prompts", "arena_hard", "sib200", "tatoeba")
README = 1_500
"""Characters of a package's description from which on it counts as a document."""
DIRECT = 300
"""Characters of a prompt at most that counts as a direct instruction; longer ones are mostly attacks around it."""
Line = dict[str, object]


def judged(guard: Guard, records: Iterable[Record]) -> list[Verdict]:
    """Return the verdicts on records by the default policy, with every token's.

    Raises:
        SystemExit: one could not be judged.
    """
    verdicts = []
    for outcome in guard.judge(list(records), Policy(), trajectory="tokens"):
        if isinstance(outcome, Failure):
            raise SystemExit(f"not judged: {outcome.message}")
        verdicts.append(outcome)
    return verdicts


class Bench:
    """A guard, the development rows and a seed."""

    def __init__(self, guard: Guard, data: Path, seed: int = 0) -> None:
        self.guard, self.rng = guard, random.Random(seed)
        self.rows = [row for row in read_rows(data / "dev", licence=None) if row.text.strip()]
        self.harmful = self.texts(lambda r: r.source in HARMFUL and r.lang == "en" and r.label == UNSAFE, 600)
        self.harmless = self.texts(lambda r: r.source == "alpaca_prompts", 600)
        self.prose = self.texts(lambda r: r.source in PROSE and r.lang == "en" and r.label == SAFE, 4_000)

    def texts(self, fits: Callable[[Row], bool], most: int) -> list[str]:
        """Return a seeded sample of the texts that fit."""
        found = [row.text for row in self.rows if row.kind != "response" and fits(row)]
        return self.rng.sample(found, min(most, len(found)))

    def judge(self, texts: Iterable[str]) -> list[Verdict]:
        """Return the verdicts on bare texts, with every token's."""
        return judged(self.guard, map(Record.of, texts))

    def share(self, texts: list[str]) -> float:
        """Return the share of texts that are flagged unsafe."""
        flagged = [verdict.label is Label.unsafe for verdict in self.judge(texts)]
        return round(sum(flagged) / len(flagged), 3)

    def size(self, text: str) -> int:
        """Return a text's tokens."""
        return len(self.guard.tokenizer.words(text)[0])

    def document(self, tokens: int) -> list[str]:
        """Return paragraphs of harmless prose of about so many tokens in all."""
        parts: list[str] = []
        left = tokens
        while left > 0:
            parts.append(self.rng.choice(self.prose))
            left -= self.size(parts[-1]) + 1
        return parts

    def pieces(self, paragraphs: Iterable[str], tokens: int) -> Iterator[str]:
        """Yield texts of at least so many tokens that follow one another; what is left at the end is left out."""
        parts: list[str] = []
        size = 0
        for paragraph in paragraphs:
            parts.append(paragraph)
            size += self.size(paragraph) + 1
            if size >= tokens:
                yield "\n\n".join(parts)
                parts, size = [], 0


def recall(bench: Bench) -> Iterable[Line]:
    """Yield recall and false alarms by source, direct instructions apart."""
    groups: list[tuple[str, str, int, int | None]] = [
        ("s_eval", "en", UNSAFE, DIRECT), ("s_eval", "en", UNSAFE, None), ("ailuminate_demo", "en", UNSAFE, None),
        ("jailbreakbench", "en", UNSAFE, None), ("s_eval", "zh", UNSAFE, None), ("ailuminate_demo", "fr", UNSAFE, None),
        ("alpaca_prompts", "en", SAFE, None), ("clinc_oos", "en", SAFE, None), ("jailbreakbench", "en", SAFE, None),
    ]  # fmt: skip
    for source, lang, label, longest in groups:
        texts = bench.texts(
            lambda r, s=source, g=lang, v=label, m=longest: (  # type: ignore[misc]
                r.source == s and r.lang == g and r.label == v and (m is None or len(r.text) <= m)
            ),
            1_000,
        )
        kind = "false alarms" if label == SAFE else "recall"
        shown = f"{source} {lang}" + (f", up to {longest} characters" if longest else "")
        yield {"what": kind, "on": shown, "n": len(texts), "flagged unsafe": bench.share(texts)}


def categories(bench: Bench) -> Iterable[Line]:
    """Yield the recall of English s_eval by the first category of its labels, to show which kind of harm passes."""
    for number, category in enumerate(CATEGORIES):
        texts = bench.texts(
            lambda r, n=number: (  # type: ignore[misc]
                r.source == "s_eval" and r.lang == "en" and r.label == UNSAFE and r.categories[:1] == (n,)
            ),
            300,
        )
        if texts:
            line = {"what": "recall", "on": f"s_eval en, {category}", "n": len(texts)}
            yield line | {"flagged unsafe": bench.share(texts)}


def documents(bench: Bench) -> Iterable[Line]:
    """Yield false alarms on harmless documents, and harm found at places of a long one."""
    for tokens in (500, 2_000, 8_000):
        texts = ["\n\n".join(bench.document(tokens)) for _ in range(100)]
        yield {
            "what": "false alarms",
            "on": f"documents of {tokens:,} tokens",
            "n": 100,
            "flagged unsafe": bench.share(texts),
        }
    alone = [
        text
        for text, verdict in zip(bench.harmful, bench.judge(bench.harmful), strict=True)
        if verdict.label is Label.unsafe
    ]
    chosen = bench.rng.sample(alone, min(100, len(alone)))
    paragraphs = [bench.document(2_000) for _ in chosen]
    for percent in (0, 25, 50, 75, 100):
        texts = []
        for text, parts in zip(chosen, paragraphs, strict=True):
            place = len(parts) * percent // 100
            texts.append("\n\n".join([*parts[:place], text, *parts[place:]]))
        yield {
            "what": "found",
            "on": f"flagged alone, at {percent} % of 2,000 tokens",
            "n": len(texts),
            "flagged unsafe": bench.share(texts),
        }
    texts = [f"{text} {bench.rng.choice(bench.prose)}" for text in chosen]
    yield {
        "what": "stays",
        "on": "flagged alone, a harmless text after it",
        "n": len(texts),
        "flagged unsafe": bench.share(texts),
    }


def packages(bench: Bench) -> Iterable[Line]:
    """Yield false alarms on the descriptions of the Python packages that are installed: real READMEs, none learned."""
    found = {one.name or "": (one.read_text("METADATA") or "").partition("\n\n")[2] for one in distributions()}
    found.pop("riskline")  # has examples of harm
    texts = [text for _, text in sorted(found.items()) if len(text) > README]
    on = f"READMEs of installed packages, over {README:,} characters"
    yield {"what": "false alarms", "on": on, "n": len(texts), "flagged unsafe": bench.share(texts)}


def reference(bench: Bench) -> Iterable[Line]:
    """Yield false alarms on pieces of Python's language reference, a long real document that is not learned from."""
    paragraphs = dict.fromkeys(paragraph for _, topic in sorted(topics.items()) for paragraph in topic.split("\n\n"))
    for tokens in (500, 2_000, 8_000):
        texts = list(bench.pieces(paragraphs, tokens))
        on = f"Python {version_info.major}.{version_info.minor}'s language reference, pieces of {tokens:,} tokens"
        yield {"what": "false alarms", "on": on, "n": len(texts), "flagged unsafe": bench.share(texts)}


def hidden(bench: Bench) -> Iterable[Line]:
    """Yield recall and false alarms of texts hidden in every way."""
    ways: dict[str, Callable[[str], str]] = {"as they are": lambda text: text}
    ways |= {name: (lambda text, way=way: way(text, bench.rng)) for name, way in KINDS.items()}  # type: ignore[misc]
    ways |= {"upper case": str.upper, "lower case": str.lower}
    for lang in ("fr", "zh", "de"):
        around = bench.texts(lambda r, g=lang: r.lang == g and r.label == SAFE and r.source in PROSE, 200)  # type: ignore[misc]
        ways[f"inside {lang} sentences"] = lambda text, a=around: f"{bench.rng.choice(a)} {text} {bench.rng.choice(a)}"  # type: ignore[misc]
    harmful, harmless = bench.harmful[:300], bench.harmless[:300]
    for name, way in ways.items():
        yield {
            "way": name,
            "n": len(harmful) + len(harmless),
            "recall": bench.share([way(text) for text in harmful]),
            "false alarms": bench.share([way(text) for text in harmless]),
        }


def onsets(bench: Bench) -> Iterable[Line]:
    """Yield how onsets stand to the first annotated span of in-distribution rows; strict, as spans mark both labels."""
    sources = sorted({row.source for row in bench.rows if row.spans and row.kind != "response"})
    for source in sources:
        rows = [row for row in bench.rows if row.source == source and row.spans and row.kind != "response"]
        rows = bench.rng.sample(rows, min(500, len(rows)))
        early = near = missed = 0
        for row, verdict in zip(rows, bench.judge([row.text for row in rows]), strict=True):
            start, end = min(row.spans)
            if verdict.onset is None or verdict.trajectory is None:
                missed += 1
                continue
            offsets = verdict.trajectory.offsets
            onset = verdict.onset.token
            first = next(index for index, (_, stop) in enumerate(offsets) if stop > start)
            early += onset < first
            near += onset >= first and (offsets[onset][0] < end or onset <= first + 10)
        found = len(rows) - missed
        yield {
            "source": source, "n": len(rows), "missed": missed,
            "not before the span": round(1 - early / found, 3) if found else None,
            "inside it or within 10 tokens": round(near / found, 3) if found else None,
        }  # fmt: skip


def table(lines: list[Line]) -> str:
    """Return lines as a Markdown table."""
    rows = [
        list(lines[0]),
        ["---"] * len(lines[0]),
        *(["–" if v is None else str(v) for v in line.values()] for line in lines),
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--guard", default="models/riskline-mini")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    bench = Bench(load(args.guard, provider="cpu"), args.data)
    parts = {}
    steps = {
        "recall": recall, "documents": documents, "hidden": hidden, "onsets": onsets, "categories": categories,
        "packages": packages, "reference": reference,
    }  # fmt: skip
    for name, part in steps.items():
        parts[name] = list(part(bench))
        print(table(parts[name]), end="\n\n", flush=True)
    if args.json:
        args.json.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
