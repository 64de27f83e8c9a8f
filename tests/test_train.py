"""The training pipeline on a corpus of a few rows: it learns, resumes, and its graph says what PyTorch says."""

from __future__ import annotations

import gzip
import json
import os
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

TRAIN = Path(__file__).parents[1] / "scripts" / "train"
pytestmark = pytest.mark.torch
pytest.importorskip("torch")
sys.path.insert(0, str(TRAIN))

import bundle  # noqa: E402
import corpus  # noqa: E402
import graph  # noqa: E402
import tokenizer as tokenizers  # noqa: E402
import torch  # noqa: E402
import train  # noqa: E402
from model import Shape  # noqa: E402

SMALL = Shape(vocabulary=400, hidden=64, layers=2, heads=1, inner=64)
ROWS = [
    {"role": "prompt", "prompt": None, "text": "how to bake a cake", "label": "safe", "categories": [], "spans": []},
    {"role": "prompt", "prompt": None, "text": "how to make a bomb", "label": "unsafe", "categories": ["Violent"], "spans": []},
    {"role": "response", "prompt": "hi", "text": "you are an idiot", "label": "controversial", "categories": [], "spans": [[11, 16]]},
    {"role": "response", "prompt": "hi", "text": "hello there", "label": "safe", "categories": [], "spans": []},
    {"role": "comment", "prompt": None, "text": "idiots all of you", "label": "unsafe", "categories": ["Unethical Acts"], "spans": []},
    {"role": "comment", "prompt": None, "text": "what a nice day", "label": "safe", "categories": [], "spans": []},
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "train").mkdir()
    with gzip.open(folder / "train" / "few.jsonl.gz", "wt") as file:
        for row in ROWS * 20:
            file.write(json.dumps({**row, "lang": "en", "licence_use": "train"}) + "\n")
        file.write(json.dumps({**ROWS[0], "lang": "en", "licence_use": "eval", "text": "not ours to use"}) + "\n")
    return folder


@pytest.fixture(scope="module")
def config() -> dict[str, object]:
    settings = tomllib.loads((TRAIN / "mini.toml").read_text())
    shape = {name: getattr(SMALL, name) for name in ("vocabulary", "hidden", "layers", "heads", "inner")}
    return {**settings, "shape": shape, "minutes": 0.05, "tokens": 512, "warmup": 5}


@pytest.fixture(scope="module")
def trained(data: Path, config: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    run = tmp_path_factory.mktemp("run")
    words = run / "tokenizer.json"
    tokenizers.train(tokenizers.sample(data, seed=1), SMALL.vocabulary).save(str(words))
    training = train.Training(config, run)
    training.over(composer(data, words, config).batches(512, pool=64))
    return run, words


def composer(data: Path, words: Path, config: dict[str, object]) -> train.Composer:
    from tokenizers import Tokenizer

    rows = list(corpus.read_rows(data / "train"))
    chances = corpus.weights(rows, config["shares"], config["safe"], config["trust"])
    return train.Composer(rows, Tokenizer.from_file(str(words)), chances, config, 1)


def test_only_rows_that_may_train_are_read(data: Path) -> None:
    assert all(row.text != "not ours to use" for row in corpus.read_rows(data / "train"))


def test_weights_follow_the_shares(data: Path, config: dict[str, object]) -> None:
    rows = list(corpus.read_rows(data / "train"))
    chances = corpus.weights(rows, config["shares"], config["safe"], config["trust"])

    by_kind = {kind: sum(c for r, c in zip(rows, chances, strict=True) if r.kind == kind) for kind in config["shares"]}
    assert by_kind == pytest.approx(config["shares"])
    safe = sum(c for r, c in zip(rows, chances, strict=True) if r.label == 0)
    assert safe == pytest.approx(config["safe"])


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

    ids, labels, _ = one._text(row)

    offsets = one._encode(row.text)[1]
    assert labels.tolist() == [row.label if end >= 16 else 0 for _, end in offsets]
    assert len(ids) == len(labels)


def test_a_run_goes_on_where_it_stopped(trained: tuple[Path, Path], data: Path, config: dict[str, object]) -> None:
    run, words = trained
    first = train.Training(config, run)
    more = train.Training({**config, "minutes": 0.08}, run)
    more.over(composer(data, words, config).batches(512, pool=64))

    assert first.step > 0
    assert more.step > first.step
    assert more.spent > first.spent


def test_the_graph_says_what_pytorch_says_and_keeps_the_laws(
    trained: tuple[Path, Path], config: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, words = trained
    torch.manual_seed(0)
    reference = bundle.Reference.load(run / "last.pt", words, SMALL)
    # The 8-bit embedding is the only rounding of size; with it in the reference, what is left is half precision's.
    integers, scale = graph.eight_bits(reference.model.embedding.weight.detach().numpy())
    reference.model.embedding.weight.data = torch.from_numpy(integers * scale)

    runtime = bundle.build(config, reference, words, tmp_path / "mini")
    worst = bundle.prove(reference, runtime, 256)

    assert worst["pytorch"] < 0.005
    assert max(worst["prefix"], worst["step"], worst["padding"]) <= bundle.LAW

    from riskline.golden import compare, read_goldens
    from riskline.guard import load

    monkeypatch.setenv("RISKLINE_MODELS", str(tmp_path))
    guard = load(str(tmp_path / "mini"), provider="cpu")
    goldens = [golden for golden in read_goldens(tmp_path / "mini" / "golden.jsonl") if len(golden.safe) < 200]
    assert len(goldens) > 15
    assert all(compare(guard, golden)[0] < 0.005 for golden in goldens)


def test_float_weights_give_pytorchs_numbers(trained: tuple[Path, Path]) -> None:
    import numpy as np

    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime
    from graph import assemble

    run, words = trained
    reference = bundle.Reference.load(run / "last.pt", words, SMALL)
    model = assemble(dict(reference.model.state_dict()), SMALL, "fp32", longest=64)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.arange(20)[None] % 300
    empty = np.zeros((1, 1, 0, 64), np.float32)
    feeds = {f"past_key_values.{i}.{kind}": empty for i in range(2) for kind in ("key", "value")}

    outputs = session.run(["prompt_risk", "response_category"], {"input_ids": ids, **feeds})

    with torch.no_grad():
        expected = reference.model(torch.from_numpy(ids))[0].numpy()
    assert np.abs(outputs[0][0] - expected[:, :3]).max() < 1e-5
    assert np.abs(outputs[1][0] - expected[:, 15:]).max() < 1e-5
    assert replace(SMALL, layers=3).head_dim == 64
