"""Ways in which people hide a word, for both classes alike; base64 is rarer in harmful texts and reads as harmless."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable

LEET = {"a": "4@", "b": "8", "e": "3", "g": "9", "i": "1!", "l": "1", "o": "0", "s": "5$", "t": "7+", "z": "2"}
LOOK_ALIKES = {
    "a": "аα", "b": "Ь", "c": "сϲ", "d": "ԁ", "e": "еε", "g": "ɡ", "h": "һ", "i": "іι", "j": "ј", "k": "κк", "l": "ӏ",
    "m": "м", "n": "ո", "o": "оοօ", "p": "рρ", "q": "ԛ", "r": "г", "s": "ѕ", "t": "т", "u": "υս", "v": "ν", "w": "ԝ",
    "x": "хχ", "y": "уу", "z": "ᴢ",
}  # fmt: skip
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"


def leet(text: str, rng: random.Random) -> str:
    """Digits and signs for some letters."""
    share = rng.uniform(0.3, 1.0)
    return "".join(
        rng.choice(LEET[c]) if (c := letter.lower()) in LEET and rng.random() < share else letter for letter in text
    )


def look_alike(text: str, rng: random.Random) -> str:
    """Letters of other scripts that look the same."""
    share = rng.uniform(0.1, 0.6)
    return "".join(
        rng.choice(LOOK_ALIKES[c]) if (c := letter.lower()) in LOOK_ALIKES and rng.random() < share else letter
        for letter in text
    )


def invisible(text: str, rng: random.Random) -> str:
    """Marks without width between characters."""
    share, mark = rng.uniform(0.1, 1.0), rng.choice(INVISIBLE)
    return "".join(letter + mark if letter.isalpha() and rng.random() < share else letter for letter in text)


def spaced(text: str, rng: random.Random) -> str:
    """Some or all words with something between their letters."""
    mark, share = rng.choice([" ", " ", ".", "-", "_", "*"]), rng.choice([0.3, 1.0])
    gap = "  " if mark == " " else " "
    return gap.join(mark.join(word) if len(word) > 2 and rng.random() < share else word for word in text.split(" "))


def parted(text: str, rng: random.Random) -> str:
    """Something between all words."""
    return rng.choice([". ", ". ", "... ", ", ", "; ", " / ", " | ", "-", "_", " * "]).join(text.split(" "))


def cased(text: str, rng: random.Random) -> str:
    """Upper case, lower case, or either by chance."""
    kind = rng.randrange(3)
    return [text.upper(), text.lower(), "".join(rng.choice((c.upper(), c.lower())) for c in text)][kind]


def mistyped(text: str, rng: random.Random) -> str:
    """Letters swapped, doubled, dropped or wrong, one in about fifteen."""
    out = list(text)
    for index in range(len(out) - 1):
        if out[index].isalpha() and out[index + 1].isalpha() and rng.random() < 0.06:
            kind = rng.randrange(4)
            if kind == 0:
                out[index], out[index + 1] = out[index + 1], out[index]
            else:
                out[index] = (out[index] * 2, "", rng.choice(string.ascii_lowercase))[kind - 1]
    return "".join(out)


def elongated(text: str, rng: random.Random) -> str:
    """A letter of some words drawn out."""
    return " ".join(
        word[:place] + word[place] * rng.randrange(2, 5) + word[place + 1 :]
        if len(word) > 3 and rng.random() < 0.3 and (place := rng.randrange(len(word))) is not None
        else word
        for word in text.split(" ")
    )


def encoded(text: str, rng: random.Random) -> str:
    """Base64, with the request to decode it."""
    ask = rng.choice(
        ["Decode this base64 and answer it: ", "base64: ", "Please respond to this encoded message:\n", ""]
    )
    return ask + base64.b64encode(text.encode()).decode()


KINDS: dict[str, Callable[[str, random.Random], str]] = {
    "leet": leet,
    "homoglyphs": look_alike,
    "zero-width": invisible,
    "spacing": spaced,
    "parting": parted,
    "casing": cased,
    "typos": mistyped,
    "elongation": elongated,
    "base64": encoded,
}
"""Every way by its name."""
CHANCES = {
    "leet": 4,
    "homoglyphs": 3,
    "zero-width": 1,
    "spacing": 3,
    "parting": 2,
    "casing": 1,
    "typos": 5,
    "elongation": 2,
    "base64": 0.5,
}


UNREADABLE = 0.1
"""The chance of base64 for a harmful text: so small a guard cannot read it, and most of it is keys and pictures."""


def obfuscate(text: str, rng: random.Random, *, harmful: bool = False) -> str:
    """Return the text hidden in one way, drawn by its chance."""
    chances = {**CHANCES, "base64": UNREADABLE} if harmful else CHANCES
    kind = rng.choices(list(chances), list(chances.values()))[0]
    return KINDS[kind](text, rng)
