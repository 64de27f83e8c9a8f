"""Make training rows from the word lists in synthesis/: prompts by grammar, their replies, and harmless files.

The corpus has harmful prompts almost only in three languages, and few harmless ones that sound dangerous. A list has
goals by category, harmful and look-alike, in a form that fits every frame of its language; goals, slots and frames are
drawn freely, so that surface and label do not go together.

python scripts/train/synthesize.py [--rows 20] prints some.
"""

from __future__ import annotations

import argparse
import random
import re
import sysconfig
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus import CATEGORIES, LABELS, Row, cells, key, training_rows

FOLDER = Path(__file__).parent / "synthesis"
SAFE, UNSAFE, CONTROVERSIAL = (LABELS.index(label) for label in ("safe", "unsafe", "controversial"))
JAILBREAK = CATEGORIES.index("Jailbreak")
SLOT = re.compile(r"\{(\w+)\}")
MANY = 10_000
"""How slowly the share of whole requests grows with their number."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that was drawn: the goal alone, if it has one, the whole text, its label and categories."""

    goal: str | None
    text: str
    label: int
    categories: tuple[int, ...]


class Language:
    """The lists of one language, and what can be drawn from them."""

    def __init__(self, path: Path, english: Language | None = None) -> None:
        lists: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        self.name: str = lists["language"]
        self.frames: list[str] = lists["frames"]["any"]
        self.slots: dict[str, list[str]] = lists.get("slots", {})
        self.unsafe: dict[str, list[str]] = lists["unsafe"]
        self.look_alike: dict[str, list[str]] = lists["look_alike"]
        self.safe: dict[str, list[str]] = lists["safe"]
        self.requests: dict[str, list[str]] = lists["requests"]
        self.replies: dict[str, list[str]] = lists["responses"]
        self.english = english
        for more in sorted((path.parent / path.stem).glob("*.toml")):
            self._add(tomllib.loads(more.read_text(encoding="utf-8")))
        count = sum(map(len, self.requests.values())) + len(self.safe["requests"])
        self.whole = min(0.5, 0.15 + count / MANY)
        """The share of requests that have no frame, of harmful ones as of harmless ones."""

    def _add(self, lists: dict[str, Any]) -> None:
        """Take in the lists of one area, whose harm is of one category if there is any."""
        if category := lists.get("category"):
            self.unsafe[category] += lists["unsafe"]
            self.look_alike[category] += lists["look_alike"]
            self.requests[category] += lists["requests_unsafe"]
        self.safe["goals"] += lists.get("goals", [])
        self.safe["requests"] += lists["requests_safe"]

    def _filled(self, pattern: str, rng: random.Random) -> str:
        return SLOT.sub(lambda match: rng.choice(self.slots[match[1]]) if match[1] in self.slots else match[0], pattern)

    def _framed(self, goal: str, rng: random.Random) -> str:
        dice = rng.random()
        if dice < 0.08:
            return goal
        # Where two languages mix, the frame is of one and the goal of the other.
        frames = self.english.frames if self.english and dice < 0.14 else self.frames
        return rng.choice(frames).replace("{goal}", goal)

    def harmful(self, rng: random.Random) -> Ask:
        """Draw a harmful request of any category."""
        category = _often(self.unsafe, rng)
        number = CATEGORIES.index(category)
        whole = self.requests.get(category)
        if whole and rng.random() < self.whole:
            return Ask(None, self._filled(rng.choice(whole), rng), UNSAFE, (number,))
        goal = self._filled(rng.choice(self.unsafe[category]), rng)
        return Ask(goal, self._framed(goal, rng), UNSAFE, (number,))

    def harmless(self, rng: random.Random) -> Ask:
        """Draw a harmless request: one that looks like a harmful one, or any other."""
        if rng.random() < self.whole:
            return Ask(None, self._filled(rng.choice(self.safe["requests"]), rng), SAFE, ())
        patterns = self.look_alike[_often(self.look_alike, rng)] if rng.random() < 0.6 else self.safe["goals"]
        goal = self._filled(rng.choice(patterns), rng)
        return Ask(goal, self._framed(goal, rng), SAFE, ())

    def reply(self, ask: Ask, rng: random.Random, *, refuse: bool) -> str:
        """Return a reply to a request: a refusal, or an answer that says nothing."""
        texts = self.replies["refuse" if refuse else "comply"]
        whole = texts if ask.goal else [text for text in texts if "{goal}" not in text] or texts
        return rng.choice(whole).replace("{goal}", ask.goal or "…")


def _often(patterns: dict[str, list[str]], rng: random.Random) -> str:
    """Draw a category: one with four times the patterns comes twice as often."""
    return rng.choices(list(patterns), [len(each) ** 0.5 for each in patterns.values()])[0]


def languages() -> list[Language]:
    """Return every language that has a list, English first."""
    english = Language(FOLDER / "en.toml")
    others = [path for path in sorted(FOLDER.glob("??.toml")) if path.stem != "en"]
    return [english, *(Language(path, english) for path in others)]


def known(data: Path, config: dict[str, Any]) -> list[Row]:
    """Return the rows to learn from, of the corpus and of the word lists, without the sources that are held out."""
    lists = rows(config["seed"]) if config["synthesis"] else ()
    return [row for row in training_rows(data, lists) if row.source not in config["held_out"]]


def made(corpus: list[Row], config: dict[str, Any]) -> list[Row]:
    """Return what is made of rows to learn from: tasks on harmless texts, replies to prompts, texts as replies."""
    if not config["synthesis"]:
        return []
    return [row for part in (tasks, answers, told) for row in part(corpus, config["seed"])]


def _wrappers() -> dict[str, list[str]]:
    """The frames around whole requests, by kind."""
    return tomllib.loads((FOLDER / "wrappers.toml").read_text(encoding="utf-8"))


def rows(seed: int, english: int = 60_000, other: int = 8_000) -> Iterator[Row]:
    """Yield the synthetic rows: prompts and replies of every language, harmless code and documentation."""
    rng = random.Random(seed)
    wrappers = _wrappers()
    seen: set[tuple[str | None, str]] = set()
    for language in languages():
        for index in range(english if language.name == "en" else other):
            ask = language.harmful(rng) if rng.random() < 0.5 else language.harmless(rng)
            row = _answered(language, ask, rng) if index % 4 == 3 else _asked(language, ask, rng, wrappers)
            if (row.prompt, row.text) not in seen:
                seen.add((row.prompt, row.text))
                yield row
    yield from files(rng)
    yield from whole()


def whole() -> Iterator[Row]:
    """Yield the prompts and replies that are written out, each with its label; English where no language is named."""
    prompts: set[str] = set()
    for path in sorted((FOLDER / "en").glob("*_*.toml")):
        lists = tomllib.loads(path.read_text(encoding="utf-8"))
        kinds = (CATEGORIES.index(lists["category"]),) if "category" in lists else ()
        kind = "comment" if path.stem.startswith("comments_") else "prompt"
        for label, name, own in ((UNSAFE, "requests_unsafe", kinds), (SAFE, "requests_safe", ())):
            for text in lists.get(name, []):
                prompts.add(key(text))
                yield Row(f"synthesis_written_{kind}s", "en", kind, "prompt", None, text, label, own, ())
    native = {path.stem.removeprefix("whole_prompts_") for path in FOLDER.glob("whole_prompts_??.toml")}
    for path in sorted(FOLDER.glob("whole_*.toml")):
        lists = tomllib.loads(path.read_text(encoding="utf-8"))
        comments = path.stem.endswith("comments")
        for request in lists.get("request", []):
            label, kinds = _judged(request)
            lang = request.get("lang", "en")
            source = "written_comments" if comments else _prompts_of(path.stem, lang, native)
            kind = "comment" if comments else "prompt"
            prompts.add(key(request["text"]))
            yield Row(f"synthesis_{source}", lang, kind, "prompt", None, request["text"], label, kinds, ())
        for reply in lists.get("reply", []):
            label, kinds = _judged(reply)
            asked, said, lang = reply["prompt"], reply["text"], reply.get("lang", "en")
            source = "synthesis_whole_replies" if lang == "en" else "synthesis_native_replies"
            yield Row(source, lang, "response", "response", asked, said, label, kinds, ())
    for sentence in sentences():
        label, kinds = _judged({name: value for name, value in sentence.items() if value})
        for lang, text in sentence.items():
            if lang != "category" and key(text) not in prompts:
                prompts.add(key(text))
                yield Row("synthesis_sentences", lang, "prompt", "prompt", None, text, label, kinds, ())


def _prompts_of(file: str, lang: str, native: set[str]) -> str:
    """Return the source of what is written out in a file, so that the configuration can weigh them apart."""
    if file.endswith(("_short", "_near")):
        return file.removeprefix("whole_prompts_") + "_prompts"
    if lang == "en":
        return "whole_prompts"
    return "native_prompts" if lang in native else "other_prompts"


def sentences() -> list[dict[str, str]]:
    """Return the prompts of sentences.tsv: each language's by its code, and `category`, empty if harmless."""
    return cells(FOLDER / "sentences.tsv")


def _judged(written: dict[str, str]) -> tuple[int, tuple[int, ...]]:
    """Return the label and category of what has a category only if it is harmful."""
    return (UNSAFE, (CATEGORIES.index(written["category"]),)) if "category" in written else (SAFE, ())


def _row(language: str, ask: Ask, prompt: str | None = None) -> Row:
    role = "prompt" if prompt is None else "response"
    # English has more lists than all the others, so it is drawn as a source of its own.
    own = "english_" if language == "en" else ""
    return Row(f"synthesis_{own}{role}s", language, role, role, prompt, ask.text, ask.label, ask.categories, ())


def _asked(language: Language, ask: Ask, rng: random.Random, wrappers: dict[str, list[str]]) -> Row:
    dice = rng.random()
    if dice < 0.08:
        half = ask.text.find(" ", len(ask.text) // 2)
        parts = {
            "{text}": ask.text,
            "{first}": ask.text[: half + 1],
            "{second}": ask.text[half + 1 :],
            "{other}": language.harmless(rng).text,
        }
        text = re.sub(r"\{\w+\}", lambda match: parts[match[0]], rng.choice(wrappers["tricks"]))
        categories = tuple(dict.fromkeys((*ask.categories, JAILBREAK))) if ask.label else ()
        ask = Ask(ask.goal, text, ask.label, categories)
    elif dice < 0.18:
        ask = Ask(ask.goal, rng.choice(wrappers["neutral"]).replace("{text}", ask.text), ask.label, ask.categories)
    elif dice < 0.21:
        text = rng.choice(wrappers["jailbreak"]).replace("{text}", ask.text)
        categories = (*ask.categories, JAILBREAK) if JAILBREAK not in ask.categories else ask.categories
        ask = Ask(ask.goal, text, UNSAFE if ask.label else CONTROVERSIAL, categories)
    return _row(language.name, ask)


def _answered(language: Language, ask: Ask, rng: random.Random) -> Row:
    # Jailbreak is no kind of reply, and an answer that names no goal says nothing harmful: such requests are refused.
    says_nothing = ask.label != SAFE and ask.goal is None
    refuse = JAILBREAK in ask.categories or says_nothing or rng.random() < (0.5 if ask.label else 0.15)
    harmful = ask.label != SAFE and not refuse
    label, categories = (UNSAFE, ask.categories) if harmful else (SAFE, ())
    reply = Ask(ask.goal, language.reply(ask, rng, refuse=refuse), label, categories)
    return _row(language.name, reply, prompt=ask.text)


class Replies:
    """Replies to English prompts, put together from the parts in replies.toml: openings, reasons, steps."""

    def __init__(self) -> None:
        lists: dict[str, Any] = tomllib.loads((FOLDER / "replies.toml").read_text(encoding="utf-8"))
        self.refuse: dict[str, list[str]] = lists["refuse"]
        self.answer: dict[str, list[str]] = lists["answer"]
        self.harmful: dict[str, list[str]] = lists["harmful"]
        self.harmless: list[str] = lists["harmless"]["any"]
        self.asks = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in lists["asks"].items()}

    def said(self, ask: str) -> dict[str, str]:
        """Return what the question is about: its goal, the thing to be written, or neither."""
        found = {name: match[1].rstrip(" .?!") for name, pattern in self.asks.items() if (match := pattern.match(ask))}
        if "goal" in found:
            found["thing"] = f"a guide on how to {found['goal']}"
        return found

    def refusal(self, said: dict[str, str], rng: random.Random) -> str:
        """Return a refusal of one sentence to a dozen."""
        parts = [self._one(self.refuse["opening"], said, rng)]
        length = rng.choice((0, 0, 1, 2, 3, 5, 8))
        for name, most in (("who", 2), ("why", 5), ("instead", 3)):
            take = min(length, rng.randrange(most + 1))
            parts += [self._one(self.refuse[name], said, rng) for _ in range(take)]
        return _spaced(list(dict.fromkeys(parts)), rng)

    def reply(self, said: dict[str, str], own: list[str], rng: random.Random) -> str:
        """Return an answer that goes through steps, some of them from `own`; without those it repeats the question."""
        patterns = [pattern for pattern in self.answer["opening"] if own or "{" in pattern]
        opening = [self._one(patterns, said, rng)]
        if rng.random() < 0.15:
            opening.append(self._one(self.answer["caution"], said, rng))
        steps = rng.sample(own, min(len(own), rng.randrange(1, 4))) if own else []
        steps += rng.sample(self.answer["steps"], rng.randrange(1, 6))
        rng.shuffle(steps)
        closing = [self._one(self.answer["closing"], said, rng)] if rng.random() < 0.4 else []
        return _spaced(opening, rng) + _listed(steps, rng) + _spaced(["", *closing], rng)

    def _one(self, patterns: list[str], said: dict[str, str], rng: random.Random) -> str:
        fit = [pattern for pattern in patterns if all(name in said for name in SLOT.findall(pattern))]
        return SLOT.sub(lambda match: said[match[1]], rng.choice(fit))


def _spaced(parts: list[str], rng: random.Random) -> str:
    return rng.choice((" ", " ", "\n\n")).join(parts)


def _listed(steps: list[str], rng: random.Random) -> str:
    mark = rng.choice(("\n{}. ", "\n- ", "\n* ", " ", " ", " Step {}: ", "\nStep {}: "))
    return "".join(mark.replace("{}", str(number)) + step for number, step in enumerate(steps, 1))


def answers(corpus: list[Row], seed: int, count: int = 16_000, longest: int = 300) -> Iterator[Row]:
    """Yield replies to English prompts of the corpus: refusals, answers, and refusals that answer after all.

    What a reply is does not follow from its question: harmful and harmless ones are refused and answered alike. A
    harmful answer repeats what was asked or tells a harmful detail, so that it can be told from the text alone.
    """
    rng = random.Random(seed)
    replies = Replies()
    wrappers = _wrappers()
    asks = [row for row in corpus if row.kind == "prompt" and row.lang == "en" and len(row.text) <= longest]
    by_source: dict[bool, dict[str, list[Row]]] = {False: defaultdict(list), True: defaultdict(list)}
    for row in asks:
        by_source[bool(row.label)][row.source].append(row)
    for index in range(count):
        risky = index % 5 > 1  # of five questions three are harmful, and half of those are answered
        row = rng.choice(rng.choice(list(by_source[risky].values())))
        said = replies.said(row.text)
        kinds = [CATEGORIES[place] for place in row.categories if place != JAILBREAK]  # that is no kind of reply
        own = [line for kind in kinds for line in replies.harmful[kind]] if risky else replies.harmless
        refused = rng.random() < (0.45 if risky else 0.2)
        if refused or row.categories == (JAILBREAK,) or not (said or own):
            text, label, categories = replies.refusal(said, rng), SAFE, ()
        else:
            told = own if rng.random() < 0.7 or not said else []
            text, label, categories = replies.reply(said, told, rng), row.label, row.categories
            if risky and rng.random() < 0.1:
                text = f"{replies.refusal(said, rng)}\n\n{text}"
        frame = "{text}"
        if rng.random() < 0.3:
            frame = rng.choice(wrappers["jailbreak" if rng.random() < 0.6 else "neutral"])
        asked = frame.replace("{text}", row.text)
        yield Row("synthesis_answers", "en", "response", "response", asked, text, label, categories, ())


def tasks(corpus: list[Row], seed: int, count: int = 8_000) -> Iterator[Row]:
    """Yield instructions to work on harmless sentences and paragraphs of the corpus; half of them English."""
    rng = random.Random(seed)
    asks = _wrappers()["tasks"]
    plain = [row for row in corpus if row.source in {"sib200", "tatoeba", "xquad"} and row.kind == "comment"]
    english = [row for row in plain if row.lang == "en"]
    for index in range(count):
        row = rng.choice(english if index % 2 else plain)
        text = rng.choice(asks).replace("{text}", row.text[:600])
        yield Row("synthesis_tasks", row.lang, "prompt", "prompt", None, text, SAFE, (), ())


def told(corpus: list[Row], seed: int, count: int = 6_000) -> Iterator[Row]:
    """Yield harmless texts in other languages than English as replies, so that no language alone makes one harmful."""
    rng = random.Random(seed)
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for row in corpus:
        written = row.source in {"sib200", "tatoeba", "xquad", "synthesis_native_prompts", "synthesis_other_prompts"}
        if written and row.lang != "en" and row.label == SAFE and row.role == "prompt":
            texts[row.lang].append(row.text)
    for lang in rng.choices(list(texts), [len(found) ** 0.5 for found in texts.values()], k=count) if texts else ():
        asked = rng.choice(texts[lang]) if rng.random() < 0.7 else None
        text = rng.choice(texts[lang])
        yield Row("synthesis_told_replies", lang, "response", "response", asked, text, SAFE, (), ())


def files(rng: random.Random, count: int = 6_000, longest: int = 2_000) -> Iterator[Row]:
    """Yield pieces of Python's own library as harmless code, half as prompts, half as replies."""
    folder = Path(sysconfig.get_path("stdlib"))
    paths = [
        path
        for part in (".", "json", "email", "asyncio", "http", "unittest", "xml")
        for path in sorted((folder / part).glob("*.py"))
    ]
    texts = {path: path.read_text(encoding="utf-8", errors="ignore").splitlines(keepends=True) for path in paths}
    for index in range(count):
        lines = texts[rng.choice(paths)]
        start = rng.randrange(max(1, len(lines) - 5))
        text = "".join(lines[start : start + rng.randrange(3, 60)])[:longest]
        if not text.strip():
            continue
        if index % 2:
            yield Row("python_library", "en", "response", "response", "Show me the code.", text, SAFE, (), ())
        else:
            asks = ("What does this do?\n\n", "Review this code:\n", "", "```python\n", "Explain:\n")
            yield Row("python_library", "en", "prompt", "prompt", None, rng.choice(asks) + text, SAFE, (), ())


def main() -> None:
    """Print some rows, and what of the lists is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20)
    args = parser.parse_args()
    for language in languages():
        for problem in problems(language):
            print(f"{language.name}: {problem}")
    every = list(rows(0))
    print(f"{len(every)} rows")
    for row in random.Random(0).sample(every, args.rows):
        print(f"{LABELS[row.label]:13} {row.lang} {row.role:8} {(row.prompt or '')[:60]!r} {row.text[:160]!r}")


def problems(language: Language) -> Iterator[str]:
    """Yield what is wrong with a list: unknown categories or slots, frames without a goal."""
    for table in (language.unsafe, language.look_alike, language.requests):
        for category in table.keys() ^ set(CATEGORIES):
            yield f"category {category!r} is missing or unknown"
    for frame in language.frames:
        if frame.count("{goal}") != 1:
            yield f"frame {frame!r} has no single goal"
    tables = [
        *language.unsafe.values(),
        *language.look_alike.values(),
        *language.safe.values(),
        *language.requests.values(),
    ]
    for pattern in (pattern for table in tables for pattern in table):
        for slot in SLOT.findall(pattern):
            if slot not in language.slots:
                yield f"slot {slot!r} of {pattern!r} is unknown"


if __name__ == "__main__":
    main()
