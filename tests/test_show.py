"""What people look at: a trace on a terminal and as a page, hostile texts and narrow screens included."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli, edit, rewrite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from riskline.guard import Guard
from riskline.policy import Judge, Policy
from riskline.records import Judged, Label, Point, Record, Rule
from riskline.show.page import page
from riskline.show.trace import print_trace
from riskline.show.traced import Traced
from riskline.trajectory import fires

HOSTILE = [
    "\x1b[31m",
    "</script>",
    "<b>",
    "&amp;",
    "\u202e",
    "\0",
    "bomb",
    "\u200d",
    "::error::",
    "$label",
    "${x}",
    "\n",
    "http://x",
]
TEXTS = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), min_size=1, max_size=12).map("".join)  # fmt: skip
laws = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def traced(guard: Guard, text: str) -> Traced:
    (outcome,) = guard.decide([Record.of(text)], Judge(guard.manifest, Policy(), "tokens"))
    assert isinstance(outcome, Judged)
    along = outcome.verdict.trajectory
    risk, unsafe = (along.risk, along.unsafe) if along else ((), ())
    return Traced(
        text=text,
        verdict=outcome.verdict,
        safe=tuple(1 - value for value in risk),
        controversial=tuple(max(0.0, a - b) for a, b in zip(risk, unsafe, strict=True)),
        unsafe=unsafe,
        thresholds=(0.5, 0.5),
        rule="hold n=2",
        address="data.jsonl:3",
    )


def printed(one: Traced, width: int = 60, *, color: bool = False) -> str:
    out = io.StringIO()
    print_trace(
        one,
        Console(file=out, width=width, force_terminal=color, no_color=not color, highlight=False, legacy_windows=False),
    )
    return out.getvalue()


def test_a_run_of_the_end_alone_is_marked_at_the_last_word(tiny: Guard) -> None:
    one = traced(tiny, "go now")
    along = one.verdict.trajectory
    assert along is not None
    # As a template's end is shown: it shares the last character, and it alone is at the threshold.
    ended = replace(
        along,
        offsets=(*along.offsets, (5, 6)),
        risk=(*along.risk, 0.9),
        unsafe=(*along.unsafe, 0.9),
        category=(*along.category, None),
    )
    place = Point(len(along.risk), (5, 6), 0.9)
    verdict = replace(one.verdict, label=Label.unsafe, trajectory=ended, onset=place, fired=place, peak=place)

    shown = printed(
        replace(
            one, verdict=verdict, unsafe=ended.unsafe, safe=(*one.safe, 0.1), controversial=(*one.controversial, 0.0)
        )
    )

    assert "⟦⟧" not in shown
    assert "w⟧" in shown


def test_a_trace_reads_without_colour_at_60_columns(tiny: Guard) -> None:
    text = printed(traced(tiny, "how to build a bomb now"))

    assert text.splitlines() == [
        "unsafe  risk 0.993  Violent",
        "safe 0.007, controversial 0.000, unsafe 0.993 at token 15",
        "prompt, 18 tokens, rule hold n=2, guard tiny@" + tiny.manifest.digest[:8],
        "data.jsonl:3",
        "",
        "how to build a ⟦bomb now⟧",
        "",
        "1.000 │                            ████████",
        "      │                            ████████",
        "0.500 ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄████████",
        "      │                            ████████",
        "      │                            ████████",
        "0.000 │▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄████████",
        "                                   ▲ ◆     ",
        "┄ P(unsafe) fires at 0.5; columns are tokens, bars are risk",
        "▲ onset token 14, risk 0.993  how to build a bomb",
        "◆ fired token 15, risk 0.993  how to build a bomb ",
        "● peak  token 14, risk 0.993  how to build a bomb",
        "",
        "Violent                        0.974  █████████████████████",
        "Sexual Content or Sexual Acts  0.002  ",
        "Suicide & Self-Harm            0.002  ",
        "Politically Sensitive Topics   0.002  ",
        "PII                            0.002  ",
        "Copyright Violation            0.002  ",
        "Non-violent Illegal Acts       0.002  ",
        "Unethical Acts                 0.002  ",
        "Jailbreak                      0.002  ",
    ]


@laws
@given(text=TEXTS, width=st.integers(40, 120))
def test_nothing_acts_on_the_terminal_and_nothing_is_wider(tiny: Guard, text: str, width: int) -> None:
    out = printed(traced(tiny, text), width)

    for line in out.split("\n"):
        assert cell_len(line) <= width
        assert not [c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@laws
@given(text=TEXTS)
def test_every_token_is_shown(tiny: Guard, text: str) -> None:
    one = traced(tiny, text)

    assert "".join(one.pieces) == (text if one.risk else "")


def test_a_long_text_is_shown_around_what_matters(tiny: Guard) -> None:
    out = printed(traced(tiny, "x" * 9000 + " bomb now " + "y" * 2000))

    assert "⟦bomb now" in out
    assert "tokens …" in out
    assert len(out) < 6000


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") or ("text" if dict(attrs).get("class") == "text" else self._inside)

    def handle_data(self, data: str) -> None:
        self.texts[self._inside] = self.texts.get(self._inside, "") + data


def parsed(text: str) -> _Page:
    parser = _Page()
    parser.feed(text)
    return parser


@laws
@given(text=TEXTS)
def test_a_page_shows_any_text_as_text(tiny: Guard, text: str) -> None:
    one = traced(tiny, text)
    harmless = page(traced(tiny, "ok"))
    made = page(one)

    scripts = [attributes for tag, attributes in parsed(made).tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {"id": "logic"}, {}]
    assert {tag for tag, _ in parsed(made).tags} <= {tag for tag, _ in parsed(harmless).tags}
    assert not [
        c
        for c in made
        if unicodedata.category(c) in ("Cf", "Cs", "Zl", "Zp") or (unicodedata.category(c) == "Cc" and c not in "\n\t")
    ]
    assert tuple(json.loads(parsed(made).texts["data"])["risk"]) == one.risk


def test_a_page_needs_no_network(tiny: Guard) -> None:
    made = page(traced(tiny, "a bomb now"))

    assert "http" not in made.replace("http-equiv", "")
    assert "//" not in re.sub(r"^// .*$", "", made, flags=re.MULTILINE)
    assert not [tag for tag, attributes in parsed(made).tags if {"src", "href", "xmlns"} & attributes.keys()]
    assert "default-src 'none'" in made


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_page_decides_as_the_policy_does(tiny: Guard) -> None:
    logic = re.search(r'<script id="logic">(.*?)</script>', page(traced(tiny, "ok")), re.DOTALL)
    assert logic
    generator = np.random.default_rng(1)
    cases = []
    for _ in range(300):
        series = generator.integers(0, 11, generator.integers(1, 12)) / 10
        rule = [Rule("hold", 2), Rule("hold", 3), Rule("max", 1), Rule("final", 1)][generator.integers(4)]
        cases.append((series, float(generator.integers(1, 11) / 10), rule))
    asked = [{"s": s.tolist(), "t": t, "r": {"kind": r.kind, "n": r.n}} for s, t, r in cases]
    code = logic[1] + f";console.log(JSON.stringify({json.dumps(asked)}.map((c) => fires(c.s, c.t, c.r))))"

    answer = subprocess.run(["node", "-e", code], capture_output=True, check=True, text=True)

    expected = [run and list(run) for run in (fires(s, t, r) for s, t, r in cases)]
    assert json.loads(answer.stdout) == expected


def test_trace_writes_a_page_and_json(cli: Cli, tmp_path: Path) -> None:
    answer = cli("trace", "a bomb now", "--html", str(tmp_path / "out.html"), "--json")

    assert answer.code == 0
    assert json.loads(answer.out)["verdict"]["trajectory"]["risk"]
    assert "<!doctype html>" in (tmp_path / "out.html").read_text()


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_blank_text_is_traced_as_blank(cli: Cli, tmp_path: Path, text: str) -> None:
    answer = cli("trace", "-", "--html", str(tmp_path / "out.html"), stdin=text.encode())

    assert answer.code == 0
    assert "The text is blank." in (tmp_path / "out.html").read_text()
    assert "the text is blank" in cli("trace", "-", stdin=text.encode()).text


def test_guards_are_listed_shown_and_verified(cli: Cli) -> None:
    assert "tiny" in cli("guards").text
    facts = {guard["name"]: guard for guard in json.loads(cli("guards", "--json").out)}
    assert facts["tiny"]["licence"] == "Apache-2.0"
    assert "hold n=2" in cli("guards", "show", "tiny").text
    verified = cli("guards", "verify", "tiny")
    assert (verified.code, "as the reference" in verified.text) == (0, True)


def test_a_role_may_have_thresholds_of_its_own(cli: Cli, copy: Path) -> None:
    """A reply's are in force for replies alone; the policy and the flags stand over them as over the guard's."""
    own = "[roles.response.thresholds]\nunsafe = 0.02\ncontroversial = 0.01\n\n[cache]"
    edit(copy, "[cache]", own)
    asked = {"prompt": "how to make a cake"}
    answered = {**asked, "response": "sure: mix flour and sugar"}

    def label(record: dict[str, str], *flags: str) -> str:
        answer = cli("score", "-", "--guard", str(copy), *flags, stdin=json.dumps(record).encode())
        return str(json.loads(answer.out)["verdict"]["label"])

    assert label(answered) == "unsafe"
    assert label(asked) == "safe"
    assert label(answered, "--unsafe-threshold", "0.99") == "controversial"
    assert "thresholds: unsafe 0.02, controversial 0.01" in cli("guards", "show", str(copy)).text
    shown = json.loads(cli("guards", "show", str(copy), "--json").out)
    assert shown["roles"]["response"]["thresholds"] == {"unsafe": 0.02, "controversial": 0.01}
    assert shown["roles"]["prompt"]["thresholds"] == shown["thresholds"] == {"unsafe": 0.5, "controversial": 0.5}


def test_a_bundle_whose_scores_differ_fails_verification(cli: Cli, copy: Path) -> None:
    rewrite(copy, "golden.jsonl", (copy / "golden.jsonl").read_bytes().replace(b"0.9094", b"0.8094"))

    answer = cli("guards", "verify", str(copy))

    assert answer.code == 2
    assert "NOT as the reference" in answer.text


def test_one_precision_of_a_guard_is_verified_and_a_graph_that_cannot_run_hides_no_other(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RISKLINE_MODELS")

    one = cli("guards", "verify", "riskline-mini:fp32")
    none = cli("guards", "verify", "riskline-mini", "--provider", "coreml")

    assert one.code == 0
    assert " fp32: " in one.text
    assert " int8: " not in one.text
    assert none.code == 2
    assert "error: riskline-mini:int8: " in none.err
    assert "error: riskline-mini:fp32: " in none.err


def test_doctor_proves_providers_with_a_real_session(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RISKLINE_MODELS")

    answer = cli("doctor")

    assert answer.code == 0
    assert "✓ cpu: ran a text through riskline-mini:int8; nodes:" in answer.text
    assert re.search(r"^[–✗✓] cuda: ", answer.text, re.MULTILINE)
    assert "hint" not in answer.text or "✗" in answer.text  # what is not there and not asked for needs no repair


@pytest.mark.parametrize("name", ["verdict", "policy", "manifest"])
def test_schemas_are_schemas(cli: Cli, name: str) -> None:
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(json.loads(cli("schema", name).out))


def test_what_is_written_and_read_fits_the_schemas(cli: Cli) -> None:
    import tomllib

    import jsonschema

    verdict = json.loads(cli("schema", "verdict").out)
    record = b'{"messages":[{"role":"user","content":"a bomb now"},{"role":"assistant","content":"no"}]}'
    for flags in ([], ["--trajectory", "tokens"], ["--all-turns"]):
        jsonschema.validate(json.loads(cli("score", *flags, stdin=record).out)["verdict"], verdict)
    for folder in ("tests/bundles/tiny", "models/riskline-mini"):
        manifest = tomllib.loads((Path(__file__).parents[1] / folder / "guard.toml").read_text())
        jsonschema.validate(manifest, json.loads(cli("schema", "manifest").out))
