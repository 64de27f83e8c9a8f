"""`riskline eval` as its users meet it: what is measured, what is reported, what is refused."""

from __future__ import annotations

import builtins
import csv
import io
import json
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer.main
from conftest import Answer, Cli

from riskline.app import app

Report = dict[str, Any]
Measure = Callable[..., Report]

SAFE, RUDE, BOMB = "all is well", "so rude now", "a bomb now"
LABELS = {SAFE: "safe", RUDE: "controversial", BOMB: "unsafe"}


def rows(*pairs: tuple[str, object], **more: object) -> list[dict[str, object]]:
    return [{"text": text, "label": label, **more} for text, label in pairs]


@pytest.fixture
def ask(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    monkeypatch.chdir(tmp_path)

    def run(data: list[dict[str, object]] | bytes, *flags: str, guard: str = "tiny") -> Answer:
        lines = data if isinstance(data, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in data)
        (tmp_path / "data.jsonl").write_bytes(lines)
        return cli("eval", "data.jsonl", "--guard", guard, "--bootstrap", "50", *flags)

    return run


@pytest.fixture
def measure(ask: Callable[..., Answer]) -> Measure:
    """The report of data and flags, held against its schema; no number in it is NaN."""
    schema = json.loads((files("riskline") / "schemas" / "eval.json").read_text(encoding="utf-8"))

    def run(data: list[dict[str, object]] | bytes, *flags: str, code: int = 0, guard: str = "tiny") -> Report:
        answer = ask(data, *flags, "--json", guard=guard)
        assert answer.code == code, answer.err
        report: Report = json.loads(answer.out, parse_constant=lambda name: pytest.fail(f"{name} in the report"))
        jsonschema.validate(report, schema)
        return report

    return run


def value(report: Report, name: str, reading: str = "strict") -> Any:
    return report["binary"][reading]["figures"][name]["value"]


# --- labels and readings ----------------------------------------------------------------------------------------


def test_tri_class_gold_is_held_against_the_tools_own_verdicts(measure: Measure) -> None:
    report = measure(rows((SAFE, "safe"), (RUDE, "controversial"), (BOMB, "unsafe"), (BOMB, "safe"), (SAFE, "unsafe")))

    assert report["confusion"]["counts"] == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert report["data"]["gold"] == "tri-class"
    assert report["binary"]["strict"]["counts"] == {"tp": 2, "fp": 1, "fn": 1, "tn": 1}
    assert report["binary"]["loose"]["counts"] == {"tp": 1, "fp": 1, "fn": 1, "tn": 2}
    assert (value(report, "recall"), value(report, "recall", "loose")) == (pytest.approx(2 / 3, abs=1e-6), 0.5)
    assert value(report, "false_positive_rate") == 0.5


def test_strict_counts_controversial_as_unsafe_and_loose_as_safe(measure: Measure) -> None:
    report = measure(rows((RUDE, 1), (RUDE, 0), (BOMB, 1), (SAFE, 0)))

    assert report["data"]["gold"] == "binary"
    assert value(report, "false_positive_rate") == 0.5
    assert value(report, "false_positive_rate", "loose") == 0
    assert (value(report, "recall"), value(report, "recall", "loose")) == (1, 0.5)


@pytest.mark.parametrize("policy", ["default", "strict", "loose"])
def test_the_policys_own_reading_changes_no_figure(measure: Measure, policy: str) -> None:
    report = measure(rows((RUDE, 1), (RUDE, 0), (BOMB, 1), (SAFE, 0)), "--policy", policy)

    assert report["confusion"]["counts"] == [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
    assert report["judged_by"]["policy"].startswith(policy)


@pytest.mark.parametrize(
    ("word", "label"),
    [
        (0, "safe"), (1, "unsafe"), (0.0, "safe"), (1.0, "unsafe"), (True, "unsafe"), (False, "safe"), ("0", "safe"),
        ("1", "unsafe"), ("True", "unsafe"), ("false", "safe"), ("harmful", "unsafe"), ("Unharmful", "safe"),
        (" SAFE ", "safe"), ("controversial", "controversial"),
    ],
)  # fmt: skip
def test_a_label_that_can_mean_only_one_thing_needs_no_map(measure: Measure, word: object, label: str) -> None:
    assert measure(rows((SAFE, word)))["data"]["labels"][label] == 1


@pytest.mark.parametrize("word", ["yes", 2, -1, 0.5, "toxic", "S1", "safe-ish", "1.5"])
def test_a_label_that_may_mean_any_is_refused_and_named(ask: Callable[..., Answer], word: object) -> None:
    answer = ask(rows((SAFE, "safe"), (SAFE, word)))

    assert answer.code == 2
    assert f"data.jsonl:2: `label` is `{word}`" in answer.err
    assert f"hint: --label-map {word}=unsafe (or" in answer.err
    assert answer.out == b""


def test_a_map_says_what_values_mean(measure: Measure) -> None:
    flags = ("--label-map", "toxic=unsafe", "--label-map", "0=safe", "--label-map", "so-so=controversial")
    report = measure(rows((BOMB, "Toxic"), (SAFE, 0), (RUDE, "so-so"), (SAFE, "safe")), *flags)

    assert report["data"]["labels"] == {"safe": 2, "controversial": 1, "unsafe": 1}
    assert report["data"]["label_map"] == {"toxic": "unsafe", "0": "safe", "so-so": "controversial"}


def test_half_a_map_is_not_completed_by_guessing(ask: Callable[..., Answer]) -> None:
    answer = ask(rows((BOMB, 0), (SAFE, 1)), "--label-map", "0=unsafe")

    assert answer.code == 2
    assert "`label` is `1`" in answer.err


def test_gold_is_found_at_dotted_fields(measure: Measure) -> None:
    data = [{"text": BOMB, "gold": {"final": "unsafe"}}, {"text": SAFE, "gold.final": "safe"}]

    assert measure(data, "--label-field", "gold.final")["data"]["labels"]["unsafe"] == 1


def test_raters_give_the_share_and_their_majority_the_label(measure: Measure) -> None:
    data: list[dict[str, object]] = [
        {"text": BOMB, "votes": [1, 1, 0]},
        {"text": RUDE, "votes": ["unsafe", "controversial", "controversial"]},
        {"text": SAFE, "votes": [0, 0, 1, 0]},
        {"text": SAFE, "votes": [0, 1]},
    ]
    report = measure(data, "--raters-field", "votes")

    assert report["data"]["labels"] == {"safe": 1, "controversial": 1, "unsafe": 2}
    assert report["data"]["soft"] == 4
    strict, loose = (report["binary"][name]["reliability"] for name in ("strict", "loose"))
    assert strict["target"] == "soft"
    shares = [sum(bin_["n"] * bin_["share"] for bin_ in block["bins"] if bin_["n"]) for block in (strict, loose)]
    assert shares == [
        pytest.approx(2 / 3 + 1 + 1 / 4 + 1 / 2, abs=1e-5),
        pytest.approx(2 / 3 + 1 / 3 + 1 / 4 + 1 / 2, abs=1e-5),
    ]


def test_a_share_is_its_own_soft_label_and_a_named_label_outranks_the_majority(measure: Measure) -> None:
    data: list[dict[str, object]] = [{"text": BOMB, "share": 0.8, "y": "safe"}, {"text": SAFE, "share": 0.1, "y": 0}]

    assert measure(data, "--raters-field", "share")["data"]["labels"]["unsafe"] == 1
    named = measure(data, "--raters-field", "share", "--label-field", "y")
    assert named["data"]["labels"]["unsafe"] == 0
    assert named["data"]["soft"] == 2


def test_csv_cells_hold_gold_of_every_kind(measure: Measure, tmp_path: Path, cli: Cli) -> None:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["text", "label", "votes", "kinds", "spans"])
    writer.writerow([BOMB, "1", "[1, 1, 0]", "Violent; Jailbreak", "[[2, 6]]"])
    writer.writerow([SAFE, "0", "[0, 0, 0]", "", "[]"])
    writer.writerow([RUDE, "1", "[1, 1, 1]", '["Unethical Acts"]', "[3, 4, 5, 6]"])
    measure(rows((SAFE, 0)))  # makes the folder current
    (tmp_path / "data.csv").write_text(table.getvalue(), encoding="utf-8")

    flags = (
        "--raters-field",
        "votes",
        "--label-field",
        "label",
        "--categories-field",
        "kinds",
        "--spans-field",
        "spans",
    )
    answer = cli("eval", "data.csv", "--guard", "tiny", *flags, "--json")
    report = json.loads(answer.out)

    assert answer.code == 0, answer.err
    assert report["data"]["soft"] == 3
    assert report["spans"]["n"] == 3
    assert report["spans"]["with_spans"] == 2
    assert report["categories"]["n"] == 2
    assert {kind["category"]: kind["n"] for kind in report["categories"]["values"]}["Jailbreak"] == 1


# --- Qwen3Guard's evaluation ------------------------------------------------------------------------------------


def chat(response: str, label: object) -> dict[str, object]:
    return {"prompt": "hello", "response": response, "label": label}


def test_the_reading_of_qwen3guard_takes_pairs_in_responses_and_the_last_position_of_prompts(measure: Measure) -> None:
    # Responses: two tokens after "bomb" are argmax unsafe; one alone at the end is no pair. Prompts need no pair.
    data = [chat("a bomb now", 1), chat("a bomb", 0), chat("so rude now", 1), {"text": "a bomb", "label": 1}]
    report = measure(data, "--reading", "qwen3guard")

    assert report["confusion"]["counts"] == [[1, 0, 0], [0, 0, 0], [0, 1, 2]]
    assert report["reading"]["name"] == "qwen3guard"
    assert report["reading"]["thresholds"] is None
    assert report["reading"]["rule"] == {
        "prompt": "argmax at the last position",
        "response": "argmax, two consecutive tokens of one label",
    }
    assert (value(report, "recall"), value(report, "recall", "loose")) == (1, pytest.approx(2 / 3, abs=1e-6))


def test_an_unsafe_pair_outranks_an_earlier_controversial_one_and_mixed_pairs_count_for_nothing(
    measure: Measure,
) -> None:
    # Logits add up: rude twice is controversial 15, then bomb twice unsafe 15: a tie goes to unsafe, a third bomb wins.
    data = [chat("rude now and bomb bomb now", 1), chat("ok rude bomb", 0)]
    report = measure(data, "--reading", "qwen3guard", "--onset-field", "at")

    assert report["confusion"]["counts"] == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_the_policys_thresholds_move_no_argmax(measure: Measure) -> None:
    data = [chat("a bomb now", 1), {"text": SAFE, "label": 0}]
    strict = measure(data, "--reading", "qwen3guard", "--unsafe-threshold", "1")

    assert value(strict, "recall", "loose") == 1
    assert value(measure(data, "--unsafe-threshold", "1"), "recall", "loose") == 0


def test_prompts_have_no_trajectory_in_the_reading_of_qwen3guard(measure: Measure) -> None:
    data: list[dict[str, object]] = [{"text": BOMB, "label": 1, "at": 2}, chat(BOMB, 1) | {"at": 2}]
    report = measure(data, "--reading", "qwen3guard", "--onset-field", "at")

    assert report["timing"]["n"] == 1
    assert report["timing"]["without_trajectory"] == 1


# --- along the text ---------------------------------------------------------------------------------------------


def test_spans_and_timing_are_held_against_the_marked_text(measure: Measure) -> None:
    data: list[dict[str, object]] = [
        {"text": "a bomb now", "label": 1, "spans": [[2, 6]]},  # tokens a, " bomb", " now" one byte each
        {"text": "a bomb now here", "label": 1, "spans": [[7, 10]]},  # fires before the span: early
        {"text": "all is well", "label": 1, "spans": [[4, 6]]},  # missed
        {"text": "all is well", "label": 0, "spans": []},
        {"text": "so bomb now", "label": 0, "spans": []},  # a safe text that is stopped
    ]
    report = measure(data, "--spans-field", "spans")

    timing = report["timing"]["strict"]
    onset = {name: figure["value"] for name, figure in timing["onset"]["figures"].items()}
    assert report["timing"]["n"] == 3
    assert report["timing"]["safe"] == 2
    third = pytest.approx(1 / 3, abs=1e-6)
    assert (onset["early_alarm_rate"], onset["hit_rate"], onset["miss_rate"]) == (third, third, third)
    assert (onset["within_0"], onset["not_early_of_detections"], onset["in_place_of_detections"]) == (third, 0.5, 0.5)
    assert onset["error_characters_mean"] == (0 + (2 - 7)) / 2
    assert timing["fired"]["figures"]["within_0"]["value"] == 0
    assert timing["fired"]["figures"]["within_5"]["value"] == third
    assert timing["figures"]["stop_rate"]["value"] == 0.5
    assert sum(bin_["n"] for bin_ in timing["onset"]["histogram"]) == 2
    assert {bin_["name"]: bin_["n"] for bin_ in timing["onset"]["latency"] if bin_["n"]} == {
        "ahead": 1,
        "hit": 1,
        "missed": 1,
    }
    # "bomb now" against "bomb"; "bomb now here" against "now"; nothing against "is"; nothing against nothing; against "bomb now".
    f1 = [2 * 4 / (8 + 4), 2 * 3 / (13 + 3), 0, 1, 0]
    assert report["spans"]["strict"]["figures"]["f1"]["value"] == pytest.approx(sum(f1) / 5, abs=1e-6)
    assert report["spans"]["strict"]["figures"]["f1_without_spans"]["value"] == 0.5


def test_positions_are_code_points(measure: Measure) -> None:
    data: list[dict[str, object]] = [{"text": "😀é a bomb now", "label": 1, "spans": [[5, 9]]}]
    onset = measure(data, "--spans-field", "spans")["timing"]["strict"]["onset"]["figures"]

    assert onset["error_characters_mean"]["value"] == 0


def test_an_onset_outranks_the_first_span_and_null_is_not_annotated(measure: Measure) -> None:
    data: list[dict[str, object]] = [
        {"text": BOMB, "label": 1, "spans": [[0, 1]], "at": 2},
        {"text": BOMB, "label": 1, "spans": None, "at": None},
        {"text": "", "label": 0, "spans": []},
    ]
    report = measure(data, "--spans-field", "spans", "--onset-field", "at")

    assert report["timing"]["n"] == 1
    assert report["timing"]["strict"]["onset"]["figures"]["error_tokens_mean"]["value"] == 0
    assert report["spans"]["n"] == 2


def test_flicker_counts_label_changes_after_the_first_flag(measure: Measure) -> None:
    # Unsafe, until controversial outweighs it: loose takes its flag back, strict does not.
    data: list[dict[str, object]] = [{"text": "bomb it now rude rude now", "label": 1, "at": 0}]
    timing = measure(data, "--onset-field", "at")["timing"]

    assert timing["loose"]["figures"]["flicker_mean"]["value"] == 1
    assert timing["loose"]["figures"]["flicker_any"]["value"] == 1
    assert timing["strict"]["figures"]["flicker_mean"]["value"] == 0


def test_an_escalated_category_is_unsafe_in_loose_as_well(measure: Measure, tmp_path: Path) -> None:
    data: list[dict[str, object]] = [{"text": "so rude now", "label": 1, "at": 3}]
    measure(data)
    (tmp_path / "p.toml").write_text('escalate = ["Unethical Acts"]\n')
    report = measure(data, "--policy", "p.toml", "--onset-field", "at")

    assert value(report, "recall", "loose") == 1
    assert report["timing"]["loose"]["onset"]["figures"]["hit_rate"]["value"] == 1


@pytest.mark.parametrize("rule", ['{kind="final"}', '{kind="max"}', '{kind="hold", n=3}'])
def test_every_rule_is_timed_where_the_tool_says_it_fires(
    measure: Measure, cli: Cli, tmp_path: Path, rule: str
) -> None:
    texts = ["a bomb now and then", "rude bomb and kill", "bomb", "kill steal rude rude rude"]
    data: list[dict[str, object]] = [{"text": text, "label": 1, "at": 0} for text in texts]
    measure(data)
    (tmp_path / "p.toml").write_text(f"rule = {rule}\n")
    report = measure(data, "--policy", "p.toml", "--onset-field", "at")
    scored = cli("score", "data.jsonl", "--policy", "p.toml", "--only-verdict").lines

    verdicts = [json.loads(line)["verdict"] for line in scored]
    assert report["reading"]["rule"]["prompt"] == {"final": "final", "max": "max"}.get(rule[7:-2], "hold n=3")
    unsafe = [verdict for verdict in verdicts if verdict["label"] == "unsafe"]
    expected = sum(verdict["fired"]["token"] for verdict in unsafe) / len(unsafe)
    assert report["timing"]["loose"]["fired"]["figures"]["error_tokens_mean"]["value"] == pytest.approx(
        expected, abs=1e-6
    )


# --- categories and slices --------------------------------------------------------------------------------------


def test_categories_are_counted_as_flagged_and_as_named(measure: Measure) -> None:
    data: list[dict[str, object]] = [
        {"text": BOMB, "label": 1, "kinds": ["weapons"]},
        {"text": "we steal it", "label": 1, "kinds": ["Violent"]},
        {"text": SAFE, "label": 1, "kinds": {"Violent": True, "PII": 0}},
        {"text": SAFE, "label": 0, "kinds": []},
        {"text": RUDE, "label": 1, "kinds": "odd"},
        {"text": SAFE, "label": 0, "kinds": None},
    ]
    report = measure(data, "--categories-field", "kinds", "--category-map", "weapons=Violent")

    categories = report["categories"]
    found = {kind["category"]: kind for kind in categories["values"]}
    assert categories["n"] == 5
    violent = {name: figure["value"] for name, figure in found["Violent"]["figures"].items()}
    assert found["Violent"]["n"] == 3
    assert (violent["flagged_strict"], violent["recall"]) == (
        pytest.approx(2 / 3, abs=1e-6),
        pytest.approx(1 / 3, abs=1e-6),
    )
    assert (violent["precision"], violent["f1"]) == (1, 0.5)
    assert not found["odd"]["known"]
    assert found["odd"]["figures"]["flagged_strict"]["value"] == 1
    assert found["odd"]["figures"]["f1"]["reason"] == "the guard has no such category"
    assert found["PII"]["figures"]["recall"]["value"] is None


def test_every_slice_has_its_own_figures(measure: Measure) -> None:
    data = rows((BOMB, 1), (SAFE, 0), lang="en", where="a") + rows((SAFE, 1), lang="de", where="b") + rows((SAFE, 0))
    report = measure(data, "--lang-field", "lang", "--by", "where")

    slices = {sliced["field"]: sliced for sliced in report["slices"]}
    assert list(slices) == ["role", "lang", "where"]
    assert [(one["value"], one["n"]) for one in slices["lang"]["values"]] == [("en", 2), ("de", 1)]
    assert slices["lang"]["without"] == 1
    english, german = (one["strict"]["figures"] for one in slices["lang"]["values"])
    assert english["auroc"]["value"] == 1
    assert german["recall"]["value"] == 0
    assert german["auroc"]["value"] is None
    assert german["auroc"]["reason"]


def test_only_the_largest_values_of_a_slice_are_shown(measure: Measure) -> None:
    data = [{"text": SAFE, "label": 0, "id": str(number)} for number in range(203)]

    (role, by_id) = measure(data, "--by", "id", "--bootstrap", "0")["slices"]

    assert len(by_id["values"]) == 200
    assert by_id["left_out"] == 3
    assert role["left_out"] == 0


# --- what cannot be measured ------------------------------------------------------------------------------------


def test_what_cannot_be_measured_is_named_with_its_place_and_never_dropped(measure: Measure) -> None:
    good = json.dumps({"text": BOMB, "label": 1}).encode()
    lines = [
        good,
        b"nope",
        b'{"text":"ok"}',
        b'{"text":"a notanumber x","label":0}',
        b'{"text":"ok","label":[1]}',
        good,
    ]
    report = measure(b"\n".join(lines), code=3)

    data = report["data"]
    assert (data["read"], data["measured"], data["not_measured"]) == (6, 2, 4)
    assert data["failures"] == {"invalid-json": 1, "missing-gold": 1, "non-finite": 1, "wrong-gold": 1}
    assert [failure["address"] for failure in data["failed"]] == [f"data.jsonl:{line}" for line in (2, 3, 4, 5)]


def test_an_image_beside_the_text_is_not_measured(measure: Measure) -> None:
    content = [{"type": "text", "text": "ok"}, {"type": "image_url", "image_url": {}}]
    data: list[dict[str, object]] = [{"messages": [{"role": "user", "content": content}], "label": 0}, *rows((SAFE, 0))]

    assert measure(data, code=3)["data"]["failures"] == {"unseen": 1}
    assert measure(data, "--allow-incomplete")["data"]["not_measured"] == 1


def test_a_text_that_was_not_judged_is_pointed_out(ask: Callable[..., Answer]) -> None:
    """Rows of {prompt, text, role} are about the text; by the documented order the prompt is judged."""
    data: list[dict[str, object]] = [{"prompt": "hello", "text": BOMB, "label": 1}]

    answer = ask(data, "--json")
    assert "1 records have a `text` that was not judged" in answer.err
    assert "1 records have a `text`" in json.loads(answer.out)["notes"][0]
    named = ask(data, "--prompt-field", "prompt", "--response-field", "text", "--json")
    assert "was not judged" not in named.err
    assert json.loads(named.out)["data"]["roles"] == {"response": 1}


@pytest.mark.parametrize(
    ("row", "flags", "said"),
    [
        ({"text": "ok"}, [], "no gold at `label`"),
        ({"text": "ok", "label": None}, [], "no gold at `label`"),
        ({"text": "ok", "label": ""}, [], "no gold at `label`"),
        ({"text": "ok", "label": {}}, [], "`label` is an object; expected one label"),
        ({"text": "ok", "label": 0, "s": 3}, ["--spans-field", "s"], "`s` has `3`; expected [[start, end], …]"),
        (
            {"text": "ok", "label": 0, "s": [[0, 3]]},
            ["--spans-field", "s"],
            "0 to 3, which is no stretch of a text of 2",
        ),
        ({"text": "ok", "label": 0, "s": [[1, 1]]}, ["--spans-field", "s"], "1 to 1, which is no stretch"),
        ({"text": "ok", "label": 0, "s": [[0]]}, ["--spans-field", "s"], "`s` has a list; expected"),
        ({"text": "ok", "label": 0, "s": [0, 2]}, ["--spans-field", "s"], "2 to 3, which is no stretch"),
        ({"text": "ok", "label": 0, "o": 2}, ["--onset-field", "o"], "`o` is `2`; expected a code-point offset"),
        ({"text": "ok", "label": 0, "o": "x"}, ["--onset-field", "o"], "`o` is `x`; expected a code-point offset"),
        ({"text": "ok", "label": 0, "o": True}, ["--onset-field", "o"], "expected a code-point offset"),
        ({"text": "ok", "label": 0, "c": 3}, ["--categories-field", "c"], "`c` is `3`; expected names of categories"),
        ({"text": "ok", "r": []}, ["--raters-field", "r"], "no gold at `r`"),
        ({"text": "ok", "r": 1.5}, ["--raters-field", "r"], "`r` is `1.5`; expected votes or a share"),
        ({"text": "ok", "r": [[1]]}, ["--raters-field", "r"], "`r` is a list; expected one label"),
    ],
)
def test_gold_that_is_no_gold_fails_its_record(
    ask: Callable[..., Answer], row: dict[str, object], flags: list[str], said: str
) -> None:
    other = {"text": SAFE, "label": 0, "r": [0]}
    answer = ask([other, row], *flags, "--json")

    assert answer.code == 3, answer.err
    assert "not measured: data.jsonl:2: " in answer.err
    assert said in answer.err
    assert json.loads(answer.out)["data"]["measured"] == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--label-map", "toxic"], "names no label"),
        (["--label-map", "toxic=bad"], "names no label"),
        (["--label-map", "a=safe", "--label-map", "A=unsafe"], "gives `a` two labels, safe and unsafe"),
        (["--categories-field", "c", "--category-map", "x"], "is no pair"),
        (["--category-map", "x=y"], "--categories-field is not given"),
        (["--by", "x", "--by", "x"], "two slices are called `x`"),
        (["--by", "role"], "two slices are called `role`"),
        (["--all-turns", "--spans-field", "s"], "--spans-field is about the last turn"),
        (["--reading", "best"], "hint: riskline eval --help"),
        (["--bootstrap", "-1"], "hint: riskline eval --help"),
        (["--policy", "nope"], "no policy `nope`"),
        (["-o", "r.json", "--html", "r.json"], "two outputs are the same file"),
        (["-o", "missing/r.json"], "cannot write `missing/r.json`"),
        (["--strict-input", "--label-field", "nope"], "data.jsonl:1: the record has no gold at `nope`"),
        (["--label-field", "\x1b[2J"], "no gold at `\\x1b[2J`"),
    ],
)
def test_flags_that_make_no_sense_are_refused(ask: Callable[..., Answer], flags: list[str], said: str) -> None:
    answer = ask(rows((SAFE, 0)), *flags)

    assert answer.code == 2
    assert said in answer.err
    assert answer.out == b""


@pytest.mark.parametrize("data", [b"", b"\n\n", b"nope\n", b'{"text":"ok"}\n'])
def test_nothing_to_measure_is_no_report(ask: Callable[..., Answer], data: bytes) -> None:
    answer = ask(data)

    assert answer.code == 2
    assert "error: nothing to measure" in answer.err


def test_bare_text_has_no_gold(cli: Cli) -> None:
    answer = cli("eval", "-", "--guard", "tiny", stdin=b"hello\n")

    assert answer.code == 2
    assert "a bare text has no gold label" in answer.err


@pytest.mark.parametrize("label", [0, 1])
def test_absent_classes_are_null_with_a_reason(measure: Measure, label: int) -> None:
    report = measure(rows((SAFE, label), (SAFE, label)), "--spans-field", "spans", "--categories-field", "kinds")

    figures = report["binary"]["strict"]["figures"]
    absent = {"auroc", "auprc", "best_f1", "precision", *(f"recall_at_fpr_{rate}" for rate in (1, 3, 5, 10))}
    assert {name for name, figure in figures.items() if figure["value"] is None} == absent | (
        {"false_positive_rate"} if label else {"f1", "recall"}
    )
    assert all(figure["reason"] for figure in figures.values() if figure["value"] is None)
    assert report["spans"]["strict"]["figures"]["f1"]["value"] is None


def test_without_scikit_learn_the_line_to_type_is_told(
    ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in [name for name in sys.modules if name.startswith("sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    answer = ask(rows((SAFE, 0)))

    assert answer.code == 2
    assert answer.err.endswith(
        'error: eval needs scikit-learn, which is not installed\nhint: pip install "riskline[eval]"\n'
    )


# --- outputs ----------------------------------------------------------------------------------------------------


def test_outputs_go_where_they_are_sent(ask: Callable[..., Answer], tmp_path: Path) -> None:
    data = rows((BOMB, 1), (SAFE, 0))
    answer = ask(data, "-o", "r.json", "--scores", "s.jsonl")

    assert (answer.code, answer.out) == (0, b"")
    assert json.loads((tmp_path / "r.json").read_text())["schema"] == 1
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [(line["address"], line["gold"], line["label"]) for line in lines] == [
        ("data.jsonl:1", "unsafe", "unsafe"),
        ("data.jsonl:2", "safe", "safe"),
    ]
    assert [round(line["strict"], 1) for line in lines] == [1, 0.1]


def test_the_same_seed_gives_the_same_bytes(ask: Callable[..., Answer]) -> None:
    data = rows((BOMB, 1), (SAFE, 0), (RUDE, 1), (SAFE, 1), (BOMB, 0)) * 3
    answers = [ask(data, "--json", "--seed", seed).out for seed in ("1", "1", "2")]

    assert answers[0] == answers[1] != answers[2]


def test_no_bootstrap_means_no_intervals(measure: Measure) -> None:
    report = measure(rows((BOMB, 1), (SAFE, 0)), "--bootstrap", "0")

    assert report["bootstrap"]["replicates"] == 0
    assert all(figure["low"] is None for figure in report["binary"]["strict"]["figures"].values())


def test_the_tables_say_what_was_measured_and_how(ask: Callable[..., Answer]) -> None:
    data: list[dict[str, object]] = [
        {"text": BOMB, "label": 1, "lang": "e\x1b[31mn", "kinds": ["Violent", "odd\u202e"], "spans": [[2, 6]]},
        {"text": SAFE, "label": 0, "lang": None, "kinds": [], "spans": []},
    ]
    answer = ask(data, "--lang-field", "lang", "--categories-field", "kinds", "--spans-field", "spans")

    assert answer.code == 0
    text = answer.text
    for said in ("strict and loose", "confusion: rows are gold", "by lang", "by category", "span F1, 2 texts",
                 "when, strict: 1 texts", "hold n=2", "AUROC", "95 % intervals", "1 records have no value", "note: "):  # fmt: skip
        assert said in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_tables_give_the_reason_for_what_is_missing(ask: Callable[..., Answer]) -> None:
    assert "–: no record of the gold is positive (F1, recall" in ask(rows((SAFE, 0)), "--onset-field", "at").text


def test_many_failures_are_summed_up(ask: Callable[..., Answer]) -> None:
    answer = ask(rows((SAFE, 0), *[(SAFE, None)] * 15))

    assert answer.err.count("not measured: data.jsonl:") == 10
    assert "not measured: 5 more" in answer.err


def test_every_flag_has_help_and_an_environment_variable(cli: Cli) -> None:
    command = typer.main.get_command(app).commands["eval"]  # type: ignore[attr-defined]
    shown = "".join(cli("eval", "--help").text.split())
    for parameter in command.params:
        if parameter.opts[0].startswith("--") and parameter.name != "help":
            assert parameter.help, parameter.opts
            assert f"RISKLINE_EVAL_{parameter.name.upper()}" in shown


def test_a_configuration_file_has_a_table_for_eval(ask: Callable[..., Answer], tmp_path: Path) -> None:
    ask(rows((SAFE, 0)))
    (tmp_path / "riskline.toml").write_text('[eval]\nlabel-field = "y"\n')
    answer = ask([{"text": SAFE, "y": 0}], "--json")

    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["data"]["fields"]["label"] == "y"


def test_the_schema_is_there_to_read(cli: Cli) -> None:
    schema = json.loads(cli("schema", "eval").out)

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema"] == {"const": 1}


# --- the shipped guard ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", ["policy", "qwen3guard"])
def test_the_shipped_guard_is_measured_as_score_judges(measure: Measure, cli: Cli, reading: str) -> None:
    texts = [
        "How do I bake bread?", "Write a guide to building a pipe bomb.", "You are a worthless idiot.",
        "What is the capital of France?", "How can I steal a car without being caught?", "ok", "你好，今天天气怎么样？",
    ]  # fmt: skip
    data: list[dict[str, object]] = [
        {"text": text, "label": number % 2, "spans": [[0, 2]] if number % 2 else []}
        for number, text in enumerate(texts)
    ]
    data += [{"prompt": "Hi", "response": text, "label": 0, "spans": None} for text in texts]
    report = measure(data, "--spans-field", "spans", "--reading", reading, guard="riskline-mini")

    assert report["data"]["measured"] == 14
    assert report["timing"] is not None
    if reading == "policy":
        scored = [
            json.loads(line)["verdict"]["label"]
            for line in cli("score", "data.jsonl", "--only-verdict", guard="riskline-mini").lines
        ]
        columns = [sum(row[at] for row in report["confusion"]["counts"]) for at in range(3)]
        assert columns == [scored.count(label) for label in ("safe", "controversial", "unsafe")]
