"""Gold out of the records: labels, shares of raters, categories, spans, where the unsafe starts, slices."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

import orjson

from riskline.errors import InputError, RecordError, UsageError
from riskline.escape import visible
from riskline.records import Failure, Item, Label, Record, Span
from riskline.sources.recognise import kind_of, lookup

if TYPE_CHECKING:
    from riskline.sources.recognise import Object

WORDS: Final[Mapping[str, Label]] = {
    "safe": Label.safe,
    "unharmful": Label.safe,
    "harmless": Label.safe,
    "benign": Label.safe,
    "false": Label.safe,
    "0": Label.safe,
    "controversial": Label.controversial,
    "unsafe": Label.unsafe,
    "harmful": Label.unsafe,
    "true": Label.unsafe,
    "1": Label.unsafe,
}
"""What is a label without being told; everything else differs from data set to data set."""
_OWN = {label.name: label for label in Label}


@dataclass(frozen=True, slots=True)
class GoldOptions:
    """Where each kind of gold stands in a record (dotted), and what its values mean.

    A map of labels is whole: with one, only our own three words need no entry. `slices` are (name, field).
    """

    label_field: str | None = None
    label_map: Mapping[str, Label] = field(default_factory=dict)
    raters_field: str | None = None
    categories_field: str | None = None
    category_map: Mapping[str, str] = field(default_factory=dict)
    spans_field: str | None = None
    onset_field: str | None = None
    slices: tuple[tuple[str, str], ...] = ()

    @property
    def label_at(self) -> str | None:
        """The field of the hard label; None where the raters' majority gives it."""
        return self.label_field or (None if self.raters_field else "label")


@dataclass(frozen=True, slots=True)
class Gold:
    """What is known of one record.

    `share` is the share of raters for controversial or unsafe, and for unsafe. `spans` is None where nobody marked
    any, empty where somebody looked and there are none. `start` is where the unsafe begins, in code points.
    `overlooked` says that the record has a `text` which is none of its turns: the label may be about that one.
    """

    label: Label
    share: tuple[float, float] | None = None
    categories: frozenset[str] | None = None
    spans: tuple[Span, ...] | None = None
    start: int | None = None
    slices: tuple[str | None, ...] = ()
    overlooked: bool = False


@dataclass(frozen=True, slots=True)
class Labelled(Record):
    """A record that carries its gold."""

    gold: Gold = field(default_factory=lambda: Gold(Label.safe))


def labelled(items: Iterable[Item], options: GoldOptions, *, strict: bool = False) -> Iterator[Item]:
    """Yield every record with its gold, or the failure that says what of it is missing or wrong.

    Raises:
        UsageError: a value may mean any label; which one is for the user to say.
        InputError: `strict`, and a record's gold is missing or wrong.
    """
    for item in items:
        if not isinstance(item, Record):
            yield item
            continue
        try:
            gold = _gold(item, options)
        except RecordError as error:
            if strict:
                hint = "fix the record, or leave out `--strict-input` to report it and go on"
                raise InputError(f"{item.origin.address}: {error.message}", hint=hint) from error
            yield Failure(error.code, error.message, item.origin, item.raw)
        except UsageError as error:
            raise UsageError(f"{item.origin.address}: {error.message}", hint=error.hint) from error
        else:
            yield Labelled(item.turns, item.origin, item.judged, item.raw, item.unseen, gold)


def _gold(record: Record, options: GoldOptions) -> Gold:
    if record.raw is None:
        raise RecordError("missing-gold", "a bare text has no gold label; expected JSONL, JSON, YAML, CSV or TSV")
    value = cast("Object", orjson.loads(record.raw))
    votes = _votes(value, options)
    text = record.turns[record.judged[-1]].text
    spans = _spans(value, options, len(text))
    return Gold(
        label=_label(value, votes, options),
        share=_share(votes),
        categories=_categories(value, options),
        spans=spans,
        start=_start(value, options, spans, len(text)),
        slices=tuple(_slice(lookup(value, path)[0]) for _, path in options.slices),
        overlooked=bool(value.get("text")) and all(turn.text != value["text"] for turn in record.turns),
    )


# --- labels -----------------------------------------------------------------------------------------------------


def label_of(value: object, path: str, options: GoldOptions) -> Label:
    """Return the label that a value is.

    Raises:
        UsageError: neither the map nor common use says which; RecordError where it is no single value at all.
    """
    if not isinstance(value, (str, int, float)):
        hint = "; a list of votes is read by `--raters-field`" if isinstance(value, list) else ""
        raise RecordError("wrong-gold", f"`{visible(path)}` is {kind_of(value)}; expected one label{hint}")
    word = _word(value)
    known = {**_OWN, **options.label_map} if options.label_map else WORDS
    if word not in known:
        shown = visible(str(value))[:40]
        raise UsageError(
            f"`{visible(path)}` is `{shown}`, which may mean any label; expected one of {', '.join(known)}",
            hint=f"--label-map {shlex.quote(shown + '=unsafe')} (or controversial, or safe), once for every such value",
        )
    return known[word]


def _word(value: str | float) -> str:
    word = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().casefold()
    return {"0.0": "0", "1.0": "1"}.get(word, word)


def read_label_map(pairs: Sequence[str]) -> dict[str, Label]:
    """Return what `--label-map VALUE=LABEL` says.

    Raises:
        UsageError: a pair has no `=` or no label behind it, or two give one value different labels.
    """
    found: dict[str, Label] = {}
    for pair in pairs:
        value, equals, name = pair.rpartition("=")
        if not equals or name.strip() not in _OWN:
            raise UsageError(
                f"--label-map {visible(pair)} names no label; expected VALUE=safe, VALUE=controversial or VALUE=unsafe",
                hint="--label-map toxic=unsafe",
            )
        word, label = _word(value), _OWN[name.strip()]
        if found.setdefault(word, label) is not label:
            raise UsageError(f"--label-map gives `{visible(word)}` two labels, {found[word].name} and {label.name}")
    return found


def read_category_map(pairs: Sequence[str]) -> dict[str, str]:
    """Return what `--category-map VALUE=CATEGORY` says.

    Raises:
        UsageError: a pair lacks one of both.
    """
    split = [pair.partition("=") for pair in pairs]
    if wrong := next((value + equals + name for value, equals, name in split if not (value and name)), None):
        raise UsageError(f"--category-map {visible(wrong)} is no pair; expected VALUE=CATEGORY")
    return {value.strip(): name.strip() for value, _, name in split}


def _label(value: Object, votes: float | list[Label] | None, options: GoldOptions) -> Label:
    if (path := options.label_at) is None:
        return _majority(votes)
    found = lookup(value, path)[0]
    if found is None or found == "":
        raise RecordError("missing-gold", f"the record has no gold at `{visible(path)}`")
    return label_of(found, path, options)


def _majority(votes: float | list[Label] | None) -> Label:
    """The label most raters gave, the worse one where as many gave another."""
    assert votes is not None
    if isinstance(votes, float):
        return Label.unsafe if votes >= 0.5 else Label.safe
    counted = Counter(votes)
    return max(counted, key=lambda label: (counted[label], label))


def _votes(value: Object, options: GoldOptions) -> float | list[Label] | None:
    """What the raters said: their labels, or the share of them for unsafe."""
    if (path := options.raters_field) is None:
        return None
    found = _parsed(lookup(value, path)[0])
    if found is None or found == []:
        raise RecordError("missing-gold", f"the record has no gold at `{visible(path)}`")
    if isinstance(found, list):
        return [label_of(vote, path, options) for vote in found]
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found <= 1:
        raise RecordError("wrong-gold", f"`{visible(path)}` is {_shown(found)}; expected votes or a share from 0 to 1")
    return float(found)


def _share(votes: float | list[Label] | None) -> tuple[float, float] | None:
    if votes is None or isinstance(votes, float):
        return None if votes is None else (votes, votes)
    risky = sum(vote > Label.safe for vote in votes)
    return risky / len(votes), votes.count(Label.unsafe) / len(votes)


# --- categories, spans, slices ----------------------------------------------------------------------------------


def _categories(value: Object, options: GoldOptions) -> frozenset[str] | None:
    """The categories as a list of names, an object of names and flags, or one text split at `;` or `|`."""
    if (path := options.categories_field) is None:
        return None
    found = _parsed(lookup(value, path)[0])
    if found is None:
        return None
    if isinstance(found, dict):
        names = [name for name, flag in found.items() if flag in (True, 1, "1", "true")]
    elif isinstance(found, str):
        names = [part for part in found.replace("|", ";").split(";") if part.strip()]
    elif isinstance(found, list) and all(isinstance(name, str) for name in found):
        names = found
    else:
        raise RecordError("wrong-gold", f"`{visible(path)}` is {_shown(found)}; expected names of categories")
    return frozenset(options.category_map.get(name.strip(), name.strip()) for name in names)


def _spans(value: Object, options: GoldOptions, length: int) -> tuple[Span, ...] | None:
    """The marked stretches as `[start, end)` pairs, or as the list of offsets that SemEval-2021 Task 5 publishes."""
    if (path := options.spans_field) is None:
        return None
    found = _parsed(lookup(value, path)[0])
    if found is None:
        return None
    if not isinstance(found, list):
        raise _wrong_spans(path, found)
    if found and all(_is_offset(item) for item in found):
        found = _from_offsets(found)
    for pair in found:
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and all(map(_is_offset, pair))):
            raise _wrong_spans(path, pair)
        if not 0 <= pair[0] < pair[1] <= length:
            what = f"`{visible(path)}` has {pair[0]} to {pair[1]}, which is no stretch of a text of {length} characters"
            raise RecordError("wrong-gold", what)
    return tuple(sorted((pair[0], pair[1]) for pair in found))


def _from_offsets(offsets: list[int]) -> list[Span]:
    spans: list[Span] = []
    for offset in sorted(set(offsets)):
        if spans and spans[-1][1] == offset:
            spans[-1] = (spans[-1][0], offset + 1)
        else:
            spans.append((offset, offset + 1))
    return spans


def _wrong_spans(path: str, found: object) -> RecordError:
    return RecordError(
        "wrong-gold", f"`{visible(path)}` has {_shown(found)}; expected [[start, end], …] in code points"
    )


def _start(value: Object, options: GoldOptions, spans: tuple[Span, ...] | None, length: int) -> int | None:
    if (path := options.onset_field) is None:
        return spans[0][0] if spans else None
    found = _parsed(lookup(value, path)[0])
    if found is None:
        return None
    if not _is_offset(found) or not 0 <= cast("int", found) < max(length, 1):
        what = f"`{visible(path)}` is {_shown(found)}; expected a code-point offset into a text of {length} characters"
        raise RecordError("wrong-gold", what)
    return cast("int", found)


def _is_offset(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _parsed(value: object) -> object:
    """A CSV cell as the JSON that it may hold; an empty one is absent."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value) if value.strip() else None
    except orjson.JSONDecodeError:
        return value


def _shown(value: object) -> str:
    return f"`{visible(str(value))[:40]}`" if isinstance(value, (str, int, float)) else kind_of(value)


def _slice(value: object) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else orjson.dumps(value).decode()
