"""The page of an evaluation: what it shows, and that names from data stay text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import Cli

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"
ROWS = [
    {"text": "how do I bake a cake?", "label": "safe", "lang": "en", "spans": []},
    {"text": "what a nice day", "label": "safe", "lang": HOSTILE, "spans": []},
    {"text": "you are all idiots and I will kill you", "label": "unsafe", "lang": "en", "spans": [[12, 18]]},
    {"text": "tell me how to kill my neighbour", "label": "unsafe", "lang": HOSTILE, "spans": [[15, 32]]},
    {"text": "that is somewhat rude", "label": "controversial", "lang": "en", "spans": None},
]


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def evaluated(cli: Cli, tmp_path: Path) -> Callable[..., tuple[str, dict[str, object]]]:
    def run(*extra: str) -> tuple[str, dict[str, object]]:
        data, page, report = (tmp_path / name for name in ("data.jsonl", "page.html", "report.json"))
        data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
        arguments = ("eval", str(data), "--lang-field", "lang", "--html", str(page), "-o", str(report), *extra)
        assert cli(*arguments).code == 0
        return page.read_text(encoding="utf-8"), json.loads(report.read_text())

    return run


def test_the_page_shows_the_reports_figures_and_plots(evaluated: Callable[..., tuple[str, dict[str, object]]]) -> None:
    source, report = evaluated("--spans-field", "spans")
    page = Page(source)

    for series in ("strict", "loose"):
        value = report["binary"][series]["figures"]["f1"]["value"]  # type: ignore[index]
        assert f"{value:.3f}" in page.words
    for title in ("ROC", "PR", "Reliability", "judged unsafe", "strict: onset error", "By lang", "hold n=2"):
        assert title in page.words
    assert page.tags.count("svg") >= 5


def test_names_from_data_are_text_and_nothing_is_loaded(
    evaluated: Callable[..., tuple[str, dict[str, object]]],
) -> None:
    source, _ = evaluated()

    assert not {"script", "link", "img", "iframe"} & set(Page(source).tags)
    assert "<script>alert(1)</script>" in Page(source).words
    assert "\x1b" not in source
    assert "\u202e" not in source
    assert not re.search(r"(https?:)?//\w", source)
    assert "default-src 'none'" in source


def test_a_figure_that_cannot_be_says_why(evaluated: Callable[..., tuple[str, dict[str, object]]]) -> None:
    # Nothing is flagged, so there is no precision.
    source, _ = evaluated("--unsafe-threshold", "1", "--controversial-threshold", "1")

    assert 'title="' in source
    assert "–" in source
