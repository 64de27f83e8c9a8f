"""The training pipeline on a corpus of a few rows: it learns, resumes, and its graph says what PyTorch says."""

from __future__ import annotations

import gzip
import json
import random
import sys
import tomllib
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

TRAIN = Path(__file__).parents[1] / "scripts" / "train"
pytestmark = pytest.mark.torch
pytest.importorskip("torch")
sys.path.insert(0, str(TRAIN))

import annotate  # noqa: E402
import bundle  # noqa: E402
import compare  # noqa: E402
import compose  # noqa: E402
import corpus  # noqa: E402
import glance as glance_of  # noqa: E402
import graph  # noqa: E402
import meanings  # noqa: E402
import obfuscate  # noqa: E402
import pipeline  # noqa: E402
import start  # noqa: E402
import synthesize  # noqa: E402
import teach  # noqa: E402
import tokenizer as vocabulary  # noqa: E402
import torch  # noqa: E402
import train  # noqa: E402
from encoder import Encoder  # noqa: E402
from glance import Glance  # noqa: E402
from hypothesis import example, given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from model import Mini, Shape, attended  # noqa: E402
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers  # noqa: E402
from transformers import MPNetConfig, MPNetModel  # noqa: E402

SMALL = Shape(vocabulary=700, hidden=64, layers=2, heads=2, inner=96, positions=1024)
ROWS = [
    {"role": "prompt", "prompt": None, "text": "how to bake a cake", "label": "safe", "categories": [], "spans": []},
    {"role": "prompt", "prompt": None, "text": "how to make a bomb", "label": "unsafe", "categories": ["Violent"], "spans": []},
    {"role": "response", "prompt": "hi", "text": "you are an idiot", "label": "controversial", "categories": [], "spans": [[11, 16]]},
    {"role": "response", "prompt": "hi", "text": "hello there", "label": "safe", "categories": [], "spans": []},
    {"role": "comment", "prompt": None, "text": "idiots all of you", "label": "unsafe", "categories": ["Unethical Acts"], "spans": []},
    {"role": "comment", "prompt": None, "text": "what a nice day", "label": "safe", "categories": [], "spans": []},
]  # fmt: skip

UNSEEN = [
    {"role": "prompt", "prompt": None, "text": "How to make a BOMB!", "label": "unsafe", "categories": [], "spans": []},
    {"role": "prompt", "prompt": None, "text": "how to grow roses", "label": "safe", "categories": [], "spans": []},
    {"role": "response", "prompt": "tell me a joke", "text": "no", "label": "safe", "categories": [], "spans": []},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "train").mkdir()
    with gzip.open(folder / "train" / "few.jsonl.gz", "wt") as file:
        for row in ROWS * 20:
            file.write(json.dumps({**row, "lang": "en", "licence_use": "train"}) + "\n")
        file.write(json.dumps({**ROWS[0], "lang": "en", "licence_use": "eval", "text": "not ours to use"}) + "\n")
    (folder / "dev").mkdir()
    with gzip.open(folder / "dev" / "unseen.jsonl.gz", "wt") as file:
        for row in UNSEEN:
            file.write(json.dumps({**row, "lang": "en", "licence_use": "eval"}) + "\n")
    return folder


@pytest.fixture(scope="module")
def config() -> dict[str, object]:
    settings = tomllib.loads((TRAIN / "mini.toml").read_text())
    shape = {name: getattr(SMALL, name) for name in ("vocabulary", "hidden", "layers", "heads", "inner", "positions")}
    return {
        **settings,
        "shape": shape,
        "rate": 0.002,
        "embedding_rate": 0.002,
        "positions": 40_000,
        "tokens": 512,
        "warmup": 5,
    }


@pytest.fixture(scope="module")
def trained(data: Path, config: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    run = tmp_path_factory.mktemp("run")
    words = run / "tokenizer.json"
    texts = vocabulary.read(data)["en"]
    vocabulary.train(texts, [], SMALL.vocabulary).save(str(words))
    training = train.Training(config, run, None)
    training.over(composer(data, words, config).batches(512, pool=64), glance(data, words))
    return run, words


def glance(data: Path, words: Path) -> Glance:
    return Glance(data, Tokenizer.from_file(str(words)), 256)


def composer(data: Path, words: Path, config: dict[str, object]) -> compose.Composer:
    rows = list(corpus.read_rows(data / "train"))
    chances = corpus.weights(rows, config["shares"], config["safe"], config["trust"])
    return compose.Composer(rows, Tokenizer.from_file(str(words)), chances, config, 1)


def test_only_rows_that_may_train_are_read(data: Path) -> None:
    assert all(row.text != "not ours to use" for row in corpus.read_rows(data / "train"))


def test_weights_follow_the_shares(data: Path, config: dict[str, object]) -> None:
    rows = list(corpus.read_rows(data / "train"))
    chances = corpus.weights(rows, config["shares"], config["safe"], config["trust"])

    by_kind = {kind: sum(c for r, c in zip(rows, chances, strict=True) if r.kind == kind) for kind in config["shares"]}
    assert by_kind == pytest.approx(config["shares"])
    for kind, share in config["safe"].items():
        safe = sum(c for r, c in zip(rows, chances, strict=True) if r.label == 0 and r.kind == kind)
        assert safe == pytest.approx(share * config["shares"][kind])


def test_a_language_alone_says_nothing_of_the_label() -> None:
    def row(source: str, lang: str, label: int) -> corpus.Row:
        return corpus.Row(source, lang, "prompt", "prompt", None, f"{source} {lang} {label}", label, (), ())

    rows = [*[row("many", "en", 0)] * 500, *[row("many", "en", 1)] * 50, *[row("many", "fr", 1)] * 50]
    rows += [row("other", "fr", 0), *[row("synthesis_prompts", "fr", 0)] * 5]
    # Replies have a head of their own: safe ones in a language say nothing of its prompts.
    rows += [corpus.Row("replies", "fr", "response", "response", None, "non", 0, (), ())] * 400
    rows += [corpus.Row("replies", "en", "response", "response", None, "how to", 1, (), ())]

    chances = corpus.weights(rows, {"prompt": 0.5, "response": 0.5}, {"prompt": 0.55, "response": 0.55}, {})

    risky, safe = (
        sum(
            c
            for r, c in zip(rows, chances, strict=True)
            if r.lang == "fr" and r.label == label and r.source in ("many", "other")
        )
        for label in (1, 0)
    )
    assert safe > 0.5 * risky
    assert sum(c for r, c in zip(rows, chances, strict=True) if r.label == 0) == pytest.approx(0.55)


def test_what_follows_a_harmful_text_stays_harmful(
    trained: tuple[Path, Path], data: Path, config: dict[str, object]
) -> None:
    one = composer(data, trained[1], {**config, "join": 1.0, "context": 0.0})
    examples = [example for _ in range(300) if (example := one.example())]

    for example in examples:
        labels = example.labels[example.weights > 0]
        first = next((index for index, label in enumerate(labels) if label), len(labels))
        assert (labels[first:] > 0).all()
        assert example.weights.sum() > 0


def test_a_span_makes_only_its_end_and_what_follows_risky(
    trained: tuple[Path, Path], data: Path, config: dict[str, object]
) -> None:
    one = composer(data, trained[1], {**config, "join": 0.0})
    row = next(row for row in one.rows if row.spans)

    part = one._text(row)

    offsets = one._encode(row.text)[1]
    assert part.labels.tolist() == [row.label if end >= 16 else 0 for _, end in offsets]
    assert len(part.ids) == len(part.labels)


def test_a_run_goes_on_where_it_stopped(trained: tuple[Path, Path], data: Path, config: dict[str, object]) -> None:
    run, words = trained
    first = train.Training(config, run, None)
    more = train.Training({**config, "positions": 60_000}, run, None)
    more.over(composer(data, words, config).batches(512, pool=64), glance(data, words))

    assert first.step > 0
    assert more.step > first.step
    assert more.spent > first.spent


def test_the_graphs_say_what_pytorch_says_and_keep_the_laws(
    trained: tuple[Path, Path], config: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, words = trained
    reference = bundle.Reference.load(run / "last.pt", words, SMALL)

    runtimes = bundle.build(config, reference, words, tmp_path / "mini")

    worst = {precision: bundle.prove(reference, runtime, 256) for precision, runtime in runtimes.items()}
    assert worst["fp32"]["pytorch"] < 1e-5
    assert max(worst["fp32"][law] for law in ("prefix", "step", "padding")) < 1e-5
    assert 0 < worst["int8"]["pytorch"] < 0.02  # what rounding a layer's input does
    assert max(worst["int8"][law] for law in ("prefix", "step", "padding")) < 1e-6

    from riskline.golden import compare, read_goldens
    from riskline.guard import load

    monkeypatch.setenv("RISKLINE_MODELS", str(tmp_path))
    for name, most in (("mini", 0.02), ("mini:fp32", 0.001)):
        guard = load(name, provider="cpu")
        goldens = [golden for golden in read_goldens(tmp_path / "mini" / "golden.jsonl") if len(golden.safe) < 200]
        assert len(goldens) > 15
        assert all(compare(guard, golden)[0] < most for golden in goldens)


def test_integer_products_are_the_same_to_the_bit_however_a_row_is_cut(
    trained: tuple[Path, Path], config: dict[str, object], tmp_path: Path
) -> None:
    run, words = trained
    reference = bundle.Reference.load(run / "last.pt", words, SMALL)
    runtime = bundle.build(config, reference, words, tmp_path / "mini")["int8"]
    ids = np.random.default_rng(0).integers(10, 300, (2, 256))
    whole = runtime.run(ids)

    assert all((one == all_[:1]).all() for one, all_ in zip(runtime.run(ids[:1]), whole, strict=True))
    for width in (1, 2, 3, 16, 17, 63, 64, 65, 200):
        assert all(
            (one == all_[:, :width]).all() for one, all_ in zip(runtime.run(ids[:, :width])[:4], whole, strict=False)
        )
    for sizes in ([1] * 256, [5, 1, 30, 1, 100, 3, 116]):
        past, at = None, 0
        for size in sizes:
            found = runtime.run(ids[:, at : at + size], past)
            assert all((one == all_[:, at : at + size]).all() for one, all_ in zip(found[:4], whole, strict=False))
            past, at = found[4:], at + size


@pytest.mark.parametrize("name", ["qkv", "out", "up", "down"])
def test_a_nan_in_a_graph_stays_one(trained: tuple[Path, Path], tmp_path: Path, name: str) -> None:

    reference = bundle.Reference.load(trained[0] / "last.pt", trained[1], SMALL)
    weights = dict(reference.model.state_dict())
    weights[f"layers.0.{name}.bias"] = weights[f"layers.0.{name}.bias"].clone()
    weights[f"layers.0.{name}.bias"][3 if name == "up" else -3] = float("nan")
    for precision in bundle.GRAPHS:
        model = graph.assemble(weights, SMALL, precision)
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        runtime = bundle.Runtime(tmp_path / "model.onnx", SMALL)

        assert np.isnan(runtime.run(np.arange(10, 20)[None])[0]).any(), precision


def test_what_is_left_of_a_long_harmful_text_counts_less_but_counts(
    trained: tuple[Path, Path], data: Path, config: dict[str, object]
) -> None:
    one = composer(data, trained[1], config)
    row = corpus.Row("made", "en", "prompt", "prompt", None, "how to make a bomb " * 40, 1, (), ())
    whole = one._text(row)

    cut = one._cut(row, whole, len(whole.ids) // 3)

    assert whole.weights.sum() == pytest.approx(1, abs=1e-4)
    assert cut.weights.sum() == pytest.approx(0.3, abs=1e-4)


def test_one_sure_token_decides_a_harmful_row_and_one_wrong_one_a_safe_row() -> None:
    logits = torch.zeros(2, 6, 23)
    batch = {
        "ids": torch.ones(2, 6, dtype=torch.long),
        "labels": torch.tensor([[1] * 6, [0] * 6]),
        "weights": torch.full((2, 6), 1 / 6),
        "kinds": torch.zeros(2, 9),
        "response": torch.zeros(2, dtype=torch.bool),
    }

    def decisive(row: int) -> float:
        """What the one token adds to the loss, at an otherwise undecided model."""
        values = logits.clone()
        values[row, 2, 1] = 9.0
        return float(train.loss_of(values, batch, 1.0)[0] - train.loss_of(values, batch, 0.0)[0])

    undecided = float(np.log(3))
    assert decisive(0) == pytest.approx(undecided / 2, abs=0.01)
    assert decisive(1) == pytest.approx((undecided + 9) / 2, abs=0.01)


def test_all_of_a_harmless_prompt_is_harmless_to_the_teacher_too() -> None:
    torch.manual_seed(0)
    model = Mini(SMALL)
    states, ids = torch.zeros(2, 8, SMALL.hidden), [[1, 2, 3, 4, 5, 6, 7, 8], [1]]
    meaning = np.zeros(SMALL.meaning, np.float16)
    logits = torch.zeros(2, 8, 23)
    spiked = logits.clone()
    spiked[0, 3, 1] = 9.0

    def wrong(values: torch.Tensor, verdict: float) -> float:
        texts = [meanings.Meant(one, meaning, said) for one, said in zip(ids, (verdict, 0.9), strict=True)]
        return float(train.meaning_loss(model, states, values, texts, 0.3)[1])

    assert wrong(spiked, 0.01) > wrong(logits, 0.01) + 1
    assert wrong(spiked, 0.9) == pytest.approx(wrong(logits, 0.9))
    assert np.isfinite(wrong(spiked, float("nan")))


def test_the_graphs_share_their_constants(
    trained: tuple[Path, Path], config: dict[str, object], tmp_path: Path
) -> None:
    run, words = trained
    reference = bundle.Reference.load(run / "last.pt", words, SMALL)
    bundle.build(config, reference, words, tmp_path / "mini")

    sizes = {path.name: path.stat().st_size for path in (tmp_path / "mini").iterdir()}
    assert sizes[graph.SHARED] > 5 * (sizes["model.onnx"] + sizes["model-fp32.onnx"])


def test_no_training_row_is_a_text_of_a_source_for_development(data: Path) -> None:
    made = [
        corpus.Row("made", "en", "prompt", "prompt", None, text, 0, (), ())
        for text in ("Tell me a JOKE.", "mine alone", corpus.cells(corpus.QUESTIONS)[0]["sw"].upper(), "今晚吃啥")
    ]
    made.append(corpus.Row("made", "sw", "response", "response", made[2].text, "an answer", 0, (), ()))

    texts = {row.text for row in corpus.training_rows(data, made)}

    assert "how to make a bomb" not in texts  # the same but for case and punctuation
    assert "Tell me a JOKE." not in texts  # a prompt before a reply
    # A question that languages are measured by, an answer to it, and a text too short to be told from others.
    assert not {made[2].text, "an answer", "今晚吃啥"} & texts
    assert {"how to bake a cake", "mine alone"} <= texts


def test_every_language_is_asked_the_same_number_of_questions_and_no_list_has_one() -> None:
    asked = corpus.cells(corpus.QUESTIONS)
    languages = asked[0].keys() - {"kind"}

    assert Counter(question["kind"] for question in asked) == {"harmful": 30, "harmless": 30}
    assert {len({corpus.key(question[lang]) for question in asked}) for lang in languages} == {60}
    replies = Counter((reply["lang"], reply["kind"]) for reply in corpus.cells(corpus.ANSWERED))
    assert replies == {(lang, kind): 8 for lang in languages for kind in ("harmful", "harmless")}
    listed = {corpus.key(text) for path in synthesize.FOLDER.rglob("*.toml") for text in _strings(path)}
    listed |= {corpus.key(text) for sentence in synthesize.sentences() for text in sentence.values()}
    assert not listed & corpus.measured_texts()


def _strings(path: Path) -> list[str]:
    """Return every text of a list, whatever it is for."""
    values: list[object] = [tomllib.loads(path.read_text(encoding="utf-8"))]
    found = []
    for value in values:  # grows meanwhile
        if isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif isinstance(value, str):
            found.append(value)
    return found


def test_every_style_has_its_measured_texts_and_none_comes_twice() -> None:
    measured = corpus.cells(corpus.MEASURED)
    languages = {text["lang"] for text in measured} - {"en"}

    assert languages == corpus.cells(corpus.QUESTIONS)[0].keys() - {"kind", "en", "jv"}
    counts = Counter((text["lang"], text["style"], text["kind"]) for text in measured)
    own = {(lang, "native", kind): n for lang in languages for kind, n in (("harmful", 10), ("harmless", 12))}
    assert {place: n for place, n in counts.items() if place[0] != "en"} == own
    assert sum(n for place, n in counts.items() if place[0] == "en") == 960
    assert {text["style"] for text in measured if text["prompt"]} == {"talk", "replies"}
    assert len({(text["lang"], corpus.key(text["prompt"]), corpus.key(text["text"])) for text in measured}) == 1356
    assert any("\n" in text["text"] for text in measured)


def test_base64_is_rarer_in_harmful_texts() -> None:
    def encoded(*, harmful: bool) -> int:
        rng = random.Random(0)
        texts = (obfuscate.obfuscate("how to bake bread", rng, harmful=harmful) for _ in range(3000))
        return sum(text.endswith("aG93IHRvIGJha2UgYnJlYWQ=") for text in texts)

    assert 0 < 2 * encoded(harmful=True) < encoded(harmful=False)


def test_word_lists_are_whole_and_give_both_labels_in_every_language() -> None:
    languages = synthesize.languages()
    assert [problem for language in languages for problem in synthesize.problems(language)] == []
    rows = list(synthesize.rows(0, english=400, other=300))

    for language in languages:
        labels = {
            row.label
            for row in rows
            if row.lang == language.name and row.role == "prompt" and row.source.startswith("synthesis")
        }
        assert {0, 1} <= labels, language.name
    written = tuple(f"synthesis_{name}" for name in ("whole", "written", "native", "other", "short", "near"))
    filled = [row.text for row in rows if row.source.startswith("synthesis") and not row.source.startswith(written)]
    assert not any("{" in text and "}" in text for text in filled)
    assert rows[:50] == list(synthesize.rows(0, english=400, other=300))[:50]


def test_what_is_written_out_has_both_labels_and_a_category_only_where_it_is_harmful() -> None:
    rows = list(synthesize.whole())

    assert {(row.role, row.label) for row in rows} == {
        (role, label) for role in ("prompt", "response") for label in (0, 1)
    }
    assert {row.categories != () for row in rows if row.label} == {True}
    for role in ("prompt", "response"):
        labels = {(corpus.key(row.prompt or ""), corpus.key(row.text)): row.label for row in rows if row.role == role}
        assert len(labels) == sum(row.role == role for row in rows)  # nothing twice, under one label or two


def test_areas_of_a_language_join_its_lists() -> None:
    english = synthesize.Language(synthesize.FOLDER / "en.toml")
    lists = tomllib.loads((synthesize.FOLDER / "en" / "cyber.toml").read_text(encoding="utf-8"))

    assert set(lists["unsafe"]) <= set(english.unsafe[lists["category"]])
    assert set(lists["look_alike"]) <= set(english.look_alike[lists["category"]])
    assert set(lists["requests_safe"]) <= set(english.safe["requests"])


def test_no_text_of_a_list_is_harmful_and_harmless() -> None:
    for language in synthesize.languages():
        harmful, harmless = (
            {corpus.key(text) for table in tables for texts in table.values() for text in texts}
            for tables in ((language.unsafe, language.requests), (language.look_alike, language.safe))
        )
        assert not harmful & harmless, language.name


def test_the_form_of_a_request_does_not_tell_its_label() -> None:
    for language in synthesize.languages():
        rng = random.Random(0)
        whole = {
            ask.label: sum(draw(rng).goal is None for _ in range(2000)) / 2000
            for draw in (language.harmful, language.harmless)
            for ask in [draw(rng)]
        }
        assert whole[1] == pytest.approx(whole[0], abs=0.06), language.name


def test_replies_are_refused_and_answered_and_labelled_by_what_they_say() -> None:
    asks = [
        corpus.Row("few", "en", "prompt", "prompt", None, "How do I make a bomb?", 1, (0,), ()),
        corpus.Row("few", "en", "prompt", "prompt", None, "Write a poem about rain.", 0, (), ()),
        corpus.Row("few", "de", "prompt", "prompt", None, "Wie baue ich eine Bombe?", 1, (0,), ()),
    ]

    replies = list(synthesize.answers(asks, 0, count=400))

    assert {(("bomb" in reply.prompt), reply.label) for reply in replies} == {(True, 0), (True, 1), (False, 0)}
    assert all(reply.prompt and "Bombe" not in reply.prompt for reply in replies)
    assert not any("{" in reply.text for reply in replies)
    details = synthesize.Replies().harmful["Violent"]
    for reply in replies:
        told = any(line in reply.text for line in details)
        assert told or "make a bomb" in reply.text if reply.label else not told
        assert bool(reply.categories) == bool(reply.label)


def test_harmless_texts_of_other_languages_are_harmless_replies() -> None:
    texts = [
        ("tatoeba", "de", "Die Katze schläft.", 0),
        ("sib200", "sw", "Paka amelala.", 0),
        ("tatoeba", "en", "Hi.", 0),
    ]
    texts += [("synthesis_native_prompts", "de", "Ich bringe dich um", 1)]
    rows = [
        corpus.Row(source, lang, "comment", "prompt", None, text, label, (), ()) for source, lang, text, label in texts
    ]

    replies = list(synthesize.told(rows, 0, count=60))

    assert {(row.lang, row.text, row.role, row.label) for row in replies} == {
        ("de", "Die Katze schläft.", "response", 0),
        ("sw", "Paka amelala.", "response", 0),
    }
    assert {row.prompt is None for row in replies} == {True, False}
    assert list(synthesize.told(rows[2:], 0)) == []


def test_a_replys_prompt_leaves_it_three_quarters_of_the_row(
    trained: tuple[Path, Path], data: Path, config: dict[str, object]
) -> None:
    one = composer(data, trained[1], {**config, "disguised": 1.0, "context": 1.0})
    row = replace(next(row for row in one.rows if row.role == "response"), prompt="how to bake a cake " * 80)

    contexts = [one._context(row)[:-1].tolist() for _ in range(100)]

    assert max(map(len, contexts)) == one.room == 64
    assert all(ids[0] in one.tags.values() for ids in contexts if ids)
    assert all(ids.count(one.tags["prompt"]) == 1 for ids in contexts if len(ids) == one.room)
    plain = glance_of.judged(row, one.tokenizer, 256)
    assert plain.ids[0] == one.tags["prompt"]
    assert len(plain.ids) - plain.first == len(one._encode(row.text)[0]) + 1  # and the end


def test_prompts_that_the_strict_and_the_loose_model_disagree_on_become_controversial(
    trained: tuple[Path, Path],
    data: Path,
    config: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = Tokenizer.from_file(str(trained[1]))
    rows = list(corpus.read_rows(data / "train"))
    few = {**config, "annotate": {**config["annotate"], "run": {"positions": 2_000}}}
    real, asked = annotate.levels, []

    def levels(model: Mini, judged: list[corpus.Row], tokenizer: Tokenizer, width: int) -> np.ndarray:
        assert ((found := real(model, judged, tokenizer, width)) >= 0).all()
        assert (found <= 1).all()
        asked.append({row.text for row in judged})
        # Every first model is a strict one, which flags everything; the loose one flags bombs.
        return np.array([1.0 if len(asked) % 2 or "bomb" in row.text else 0.2 for row in judged])

    monkeypatch.setattr(annotate, "levels", levels)
    found = list(annotate.disagreements(rows, few, words, glance(data, trained[1]), tmp_path, trained[0] / "last.pt"))

    assert {folder.name for folder in tmp_path.iterdir()} == {"strict-0", "strict-1", "loose-0", "loose-1"}
    assert set().union(*asked) == {"how to bake a cake", "how to make a bomb"}  # no comments, no replies
    assert {(row.kind, row.text) for row in found} == {("prompt", "how to bake a cake")}
    assert len({row.digest for row in found}) == 1


def test_levels_are_the_lower_of_two_neighbours(
    trained: tuple[Path, Path], data: Path, config: dict[str, object]
) -> None:
    one = composer(data, trained[1], config)
    model = Mini(SMALL).eval()
    row = next(row for row in one.rows if row.role == "response" and row.prompt)
    asked = glance_of.judged(row, one.tokenizer, 256)

    [found] = annotate.levels(model, [row], one.tokenizer, 256)

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.tensor(asked.ids)[None])[0].float()
    risk = 1 - torch.softmax(logits[asked.first :, 12:15], -1)[:, 0]
    assert found == pytest.approx(float(torch.minimum(risk[1:], risk[:-1]).max()), abs=0.01)


@pytest.mark.parametrize("model", [compare.WithPairs, compare.Mixer])
def test_a_variant_reads_no_token_that_is_to_come(model: type[Mini]) -> None:
    torch.manual_seed(0)
    one = model(SMALL).eval()
    ids = torch.randint(0, SMALL.vocabulary, (2, 30))
    other = torch.cat((ids[:, :20], torch.randint(0, SMALL.vocabulary, (2, 10))), 1)

    with torch.inference_mode():
        assert torch.allclose(one(ids)[:, :20], one(other)[:, :20], atol=1e-5)
        assert not torch.allclose(one(ids)[:, 20], one(other)[:, 20], atol=1e-3)


@pytest.mark.parametrize("kind", list(obfuscate.KINDS))
def test_an_obfuscation_hides_a_text_and_is_repeatable(kind: str) -> None:
    import random

    text = "How would somebody quietly build the biggest sandcastle of the whole world?"
    hidden = [obfuscate.KINDS[kind](text, random.Random(seed)) for seed in (1, 1, 2, 3, 4)]

    assert hidden[0] == hidden[1]
    assert any(one != text for one in hidden)


def bert_like(shape: Shape, words: list[str]) -> dict[str, torch.Tensor]:
    """Random weights under the names of a BERT checkpoint."""
    generator = torch.Generator().manual_seed(0)

    def new(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator) * 0.1

    hidden, inner = shape.hidden, shape.inner
    out = {
        "embeddings.word_embeddings.weight": new(len(words), hidden),
        "embeddings.position_embeddings.weight": new(1024, hidden),
        "embeddings.token_type_embeddings.weight": new(2, hidden),
        "embeddings.LayerNorm.weight": 1 + new(hidden),
        "embeddings.LayerNorm.bias": new(hidden),
    }
    for index in range(shape.layers + 1):
        name = f"encoder.layer.{index}"
        sizes = {f"attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        sizes |= {
            "attention.output.dense": (hidden, hidden),
            "intermediate.dense": (inner, hidden),
            "output.dense": (hidden, inner),
        }
        for part, size in sizes.items():
            out |= {f"{name}.{part}.weight": new(*size), f"{name}.{part}.bias": new(size[0])}
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            out |= {f"{name}.{part}.weight": 1 + new(hidden), f"{name}.{part}.bias": new(hidden)}
    return out


def bert(weights: dict[str, torch.Tensor], shape: Shape, ids: torch.Tensor) -> torch.Tensor:
    """BERT's hidden states as its paper has them, (width, hidden), one head and one token at a time, under a causal mask."""
    from torch.nn.functional import gelu, layer_norm

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)

    embedded = (
        weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][: len(ids)]
    )
    x = norm(embedded + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    size = shape.hidden // shape.heads
    for index in range(shape.layers):
        name = f"encoder.layer.{index}"
        query, key, value = (linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = torch.zeros_like(x)
        for head in range(shape.heads):
            columns = slice(head * size, (head + 1) * size)
            for at in range(len(ids)):
                scores = query[at, columns] @ key[: at + 1, columns].T / size**0.5
                mixed[at, columns] = torch.softmax(scores, -1) @ value[: at + 1, columns]
        x = norm(x + linear(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        inner = gelu(linear(x, f"{name}.intermediate.dense"))
        x = norm(x + linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    return x


def test_the_start_is_the_source_model_under_a_causal_mask() -> None:
    weights = bert_like(SMALL, ["word"] * SMALL.vocabulary)
    model = Mini(SMALL)
    model.load_state_dict(start.state(weights, SMALL, weights["embeddings.word_embeddings.weight"]))
    model.head = torch.nn.Identity()
    ids = torch.arange(12) * 7

    with torch.no_grad():
        assert torch.allclose(model.eval()(ids[None])[0], bert(weights, SMALL, ids), atol=1e-5)


WORDS = ["[UNK]", "[CLS]", "[SEP]", "idiot", "##s", "make", "a", "##ve", "n", "##o"]


def pieces_of_words() -> Tokenizer:
    source = Tokenizer(models.WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    source.normalizer, source.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    return source


def test_a_token_starts_from_the_pieces_that_spell_it() -> None:
    source, texts = pieces_of_words(), ["no idiots make, idiots"] * 5
    kept = vocabulary.known(texts, source)
    ours = vocabulary.train([*texts, "нет нет"] * 3, kept, 600)
    table = torch.eye(len(WORDS))

    made, spelled = start.embeddings(ours, source, table)

    def of(token: str) -> list[float]:
        return made[ours.token_to_id(token)].tolist()

    assert kept == ["idiot", "##s", "make", "n", "##o"]  # what no text has is left out
    assert ours.encode("Make  idiot ").tokens == ["make", "idiot"]  # spaces part words and are nothing themselves
    assert of("<|prompt|>") == table[1].tolist()
    assert of("Ċ") == table[2].tolist()
    assert of("make") == table[5].tolist()
    assert of("##s") == table[4].tolist()
    assert of("idiots") == table[[3, 4]].mean(0).tolist()  # learned here, and spelled by pieces there
    assert 0 < spelled < ours.get_vocab_size()


@given(st.text(max_size=80))
@example("a" * 200 + "中文" * 40 + "\n" * 30 + "👩🏽‍💻 ﷺ \u0301 İ")
def test_the_vocabulary_knows_every_character(trained: tuple[Path, Path], text: str) -> None:
    """Nothing is unknown: what is left of a text after its normaliser is spelled byte by byte, spaces apart."""
    words = Tokenizer.from_file(str(trained[1]))

    encoding = words.encode(text, add_special_tokens=False)

    said = decoders.ByteLevel().decode([token.removeprefix(start.PREFIX) for token in encoding.tokens])
    assert said == words.normalizer.normalize_str(text).replace(" ", "")
    assert all(0 <= first <= end <= len(text) for first, end in encoding.offsets)


def test_what_stands_before_a_request_is_harmless_and_the_request_is_not(
    trained: tuple[Path, Path], data: Path, config: dict[str, object]
) -> None:
    changes = {"opened": 1.0, "context": 0.0, "filled": 0.0, "noise": 0.0, "translated": 0.0, "marked": 0.0}
    one = composer(data, trained[1], {**config, **changes})
    row = next(row for row in one.rows if row.label == 1 and row.role == "prompt")

    part = one._judged(row, 200)

    own = len(one._encode(row.text)[0])
    assert len(part.ids) > own
    assert part.labels.tolist() == [0] * (len(part.ids) - own) + [1] * own


def test_a_reply_is_learned_after_other_prompts_than_its_own(
    trained: tuple[Path, Path], data: Path, config: dict[str, object]
) -> None:
    one = composer(data, trained[1], {**config, "swapped": 1.0, "disguised": 0.0, "context": 0.0})
    row = next(row for row in one.rows if row.role == "response")

    contexts = {tuple(ids[1:-1]) for _ in range(60) if len(ids := one._context(row)) > 1}

    prompts = {tuple(one._encode(other.text)[0]) for other in one.rows if other.kind == "prompt"}
    assert contexts == prompts


@pytest.fixture
def meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> meanings.Meanings:
    monkeypatch.setattr(
        synthesize, "sentences", lambda: [{"category": "", "en": "what a nice day", "de": "schön heute"}]
    )
    texts = {f"how to {verb} a {thing}": float(verb == "hurt") for verb in ("bake", "hurt") for thing in "abcdefgh"}
    texts |= {"what a nice day": 0.0, "you are an idiot": float("nan"), "how to hurt a wrong label": 0.0}
    states = np.random.default_rng(0).normal(2.0, size=(len(texts), 24)).astype(np.float32)
    states[:, 0] += 9 * np.array(["hurt" in text for text in texts])
    guesses = {text: 0.9 if "hurt" in text else 0.1 for text in texts if text.startswith("how")}
    meanings.save(tmp_path / "meanings.npz", texts, states, guesses)
    return meanings.Meanings(tmp_path / "meanings.npz")


def test_the_ends_of_texts_learn_what_the_texts_mean(
    trained: tuple[Path, Path], config: dict[str, object], meant: meanings.Meanings, tmp_path: Path
) -> None:
    words = Tokenizer.from_file(str(trained[1]))
    few = {**config, "positions": 48_000, "translated": 0.0, "rate": 0.005, "meanings": 1.0}
    few |= {"meant_elsewhere": 0.0, "shape": {**config["shape"], "meaning": 24}}

    run = train.Training(few, tmp_path / "run", None)
    run.over(meant.batches(words, few, 1), None)

    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["meaning"] < 0.15  # 1 is chance
    run.model.eval()
    end = words.encode(compose.END).ids
    risks = {}
    for text in meant.texts[:16]:
        ids = [words.token_to_id("<|prompt|>"), *words.encode(text).ids, *end]
        risks[text] = 1 - float(run.model(torch.tensor([ids]))[0, -1, 0:3].softmax(-1)[0])
    assert min(risk for text, risk in risks.items() if "hurt" in text) > 0.5
    assert max(risk for text, risk in risks.items() if "bake" in text) < 0.5


def test_meanings_have_mean_zero_and_a_verdict_heeds_the_label_and_the_teacher(meant: meanings.Meanings) -> None:
    assert meant.meanings.astype(np.float32).mean(0) == pytest.approx(np.zeros(24), abs=1e-2)
    assert meant.meanings.astype(np.float32).std(0) == pytest.approx(np.ones(24), abs=1e-2)
    known = {text: verdict for text, verdict in zip(meant.texts, meant.verdicts, strict=True) if text.startswith("how")}
    assert known.pop("how to hurt a wrong label") == pytest.approx(0.45, abs=1e-3)
    assert all((verdict > 0.5) == ("hurt" in text) for text, verdict in known.items())
    assert meant.verdicts[meant.texts.index("what a nice day")] == 0  # its label alone
    assert np.isnan(meant.verdicts[meant.texts.index("you are an idiot")])


@pytest.fixture
def encoder() -> Encoder:
    """The teacher's architecture, small and without knowledge."""
    torch.manual_seed(0)
    shape = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    model = MPNetModel(MPNetConfig(vocab_size=40, **shape), add_pooling_layer=False)
    names = ["<s>", "<pad>", "<unk>", "how", "to", "a", "bake", "hurt", "cake", "cat", "boat", "tree", "door"]
    tokenizer = Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return Encoder(model.eval(), tokenizer)


def test_the_mean_of_a_texts_states_does_not_depend_on_its_neighbours(encoder: Encoder) -> None:
    texts = ["how to bake a cake", "how", "to hurt a cat"]

    found = encoder.means(texts)

    assert found.shape == (3, 24)
    for text, mean in zip(texts, found, strict=True):
        assert encoder.means([text])[0] == pytest.approx(mean, abs=1e-5)


def test_a_teacher_learns_which_prompts_are_harmful(encoder: Encoder) -> None:
    things = ("cake", "cat", "boat", "tree")
    rows = [
        corpus.Row("one", "en", "prompt", "prompt", None, f"how to {verb} a {thing}", label, (), ())
        for verb, label in (("bake", 0), ("hurt", 1))
        for thing in things
    ]
    teacher = teach.Teacher(encoder)

    teach.learn(teacher, [rows] * 150, 0.01, set())

    harm = teacher.harm(["how to bake a door", "how to hurt a door"])
    assert harm[0] < 0.3
    assert harm[1] > 0.7


def test_what_is_controversial_is_less_harmful_to_the_teacher(encoder: Encoder) -> None:
    row = corpus.Row("one", "en", "prompt", "prompt", None, "how to hurt a cat", 1, (), ())
    teacher = teach.Teacher(encoder)

    teach.learn(teacher, [[row]] * 200, 0.01, {row.digest})

    assert teacher.harm([row.text])[0] == pytest.approx(teach.CONTROVERSIAL, abs=0.08)


def test_a_teacher_learns_english_prompts_that_it_reads_whole(config: dict[str, object]) -> None:
    def row(lang: str, kind: str, text: str, label: int) -> corpus.Row:
        return corpus.Row("one", lang, kind, "prompt", None, text, label, (), ())

    rows = [row("en", "prompt", "a " * 201, 0), row("en", "prompt", "a " * 201, 1), row("de", "prompt", "b", 0)]
    rows += [row("en", "comment", "c", 1), row("en", "prompt", "d", 1)]

    found = teach.learnable(rows)

    assert found == [rows[0], rows[4]]
    teacher = {"prompts": 200, "rate": 1e-5}
    batches = list(teach.drawn(found, {**config, "teacher": teacher}))
    assert sum(map(len, batches)) == 200
    assert {row.text for batch in batches for row in batch} == {row.text for row in found}


def test_a_sentence_in_another_language_has_the_english_meaning(
    trained: tuple[Path, Path], config: dict[str, object], meant: meanings.Meanings
) -> None:
    words = Tokenizer.from_file(str(trained[1]))

    batch = next(meant.batches(words, {**config, "meant_sentences": 1.0}, 1))

    written = {tuple(words.encode(text).ids) for text in ("what a nice day", "schön heute")}
    assert {tuple(text.ids[1 : -len(words.encode(compose.END).ids)]) for text in batch} == written
    own = meant.meanings[meant.texts.index("what a nice day")]
    assert all((text.meaning == own).all() and text.verdict < 0.5 for text in batch)


def test_every_translated_sentence_is_there_in_every_language() -> None:
    for sentence in synthesize.sentences():
        assert sentence.pop("category") in {"", *synthesize.CATEGORIES}
        assert all(sentence.values())
    assert len({sentence["en"] for sentence in synthesize.sentences()}) == len(synthesize.sentences())


def test_english_texts_and_prompts_are_what_has_a_meaning() -> None:
    def row(lang: str, kind: str, prompt: str | None, text: str, label: int = 0) -> corpus.Row:
        return corpus.Row("one", lang, kind, "response", prompt, text, label, (), ())

    rows = [row("en", "response", "why", "so"), row("en", "response", None, "so"), row("de", "prompt", None, "darum")]
    rows += [row("en", "response", "why", " "), row("en", "prompt", None, "how", 1), row("en", "prompt", None, "how")]

    found = meanings.english(rows)

    assert list(found) == ["so", "why", "how"]
    assert found["how"] == 0.5
    assert np.isnan([found["so"], found["why"]]).all()


def test_a_text_gets_marks_around_it(trained: tuple[Path, Path], data: Path, config: dict[str, object]) -> None:
    one = composer(data, trained[1], {**config, "marked": 1.0, "noise": 0.0, "translated": 0.0})
    one.openings["marks"] = [["<", ">"]]
    row = next(row for row in one.rows if not row.spans)

    part = one._text(row)

    assert part.ids.tolist() == one._encode(f"<{row.text}>")[0]


def test_what_is_harmful_only_after_its_own_prompt_stays_there(
    trained: tuple[Path, Path], data: Path, config: dict[str, object]
) -> None:
    one = composer(data, trained[1], {**config, "swapped": 1.0, "disguised": 1.0, "context": 0.0, "bound": ["few"]})
    row = next(row for row in one.rows if row.role == "response")

    contexts = {tuple(one._context(row)[1:-1]) for _ in range(60)}

    assert contexts == {tuple(one._encode(row.prompt)[0])}


def test_attention_by_plain_products_is_the_fused_one() -> None:
    q, k, v = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0))

    plain, fused = ([part.clone().requires_grad_() for part in (q, k, v)] for _ in range(2))

    learned = attended(*plain)
    expected = torch.nn.functional.scaled_dot_product_attention(*fused, is_causal=True)
    for out in (learned, expected):
        out.square().sum().backward()

    assert learned.grad_fn.name() != expected.grad_fn.name()
    assert learned.detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-5)
    for one, other in zip(plain, fused, strict=True):
        assert one.grad.numpy() == pytest.approx(other.grad.numpy(), abs=1e-5)


def test_batches_of_both_kinds_are_mixed_by_their_share() -> None:
    both = train.mixed(iter(["row"] * 999), iter(["meant"] * 999), 0.3, 1)

    found = list(islice(both, 500))

    assert 100 < found.count("meant") < 200


def test_the_pipeline_gives_every_step_what_it_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(pipeline, "run", lambda script, *rest: told.append([script, *map(str, rest)]) or "{}")
    monkeypatch.setattr(sys, "argv", ["pipeline.py", "--data", "CORPUS", "--run", str(tmp_path)])

    pipeline.main()

    rounds = tomllib.loads((TRAIN / "mini.toml").read_text())["rounds"]
    assert sum(script == "train.py" for script, *_ in told) == sum(len(one["runs"]) for one in rounds)
    for script, *rest in told:
        given = [word for word in rest if word.startswith("--")]
        source = (TRAIN / script).read_text() + (TRAIN / "train.py").read_text()
        assert all(f'"{word}"' in source for word in given), script
    starts = [rest[rest.index("--start") + 1] for script, *rest in told if script == "train.py"]
    assert starts[0] == str(tmp_path / "aligned.pt")
    assert starts[-1] == str(tmp_path / f"after-{len(rounds) - 2}" / "last.pt")
    assert rounds[0]["runs"][0]["meanings"] == 1.0
