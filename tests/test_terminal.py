"""On a real terminal: colour, progress, and neither where there is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pexpect = pytest.importorskip("pexpect")
if not hasattr(pexpect, "spawn"):
    pytest.skip("pexpect has no pseudo-terminals on this platform", allow_module_level=True)


def terminal(command: str, tmp_path: Path, **environment: str) -> str:
    """Run a shell command on a pseudo-terminal of 80 columns and return all that it showed."""
    shell = command.replace("riskline", f"{sys.executable} -m riskline")
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    child = pexpect.spawn(
        "/bin/sh", ["-c", shell], cwd=str(tmp_path), dimensions=(40, 80), timeout=60, encoding="utf-8",
        env=clean | {"TERM": "xterm-256color"} | environment,
    )  # fmt: skip
    shown = child.read()
    child.close()
    return str(shown)


@pytest.fixture
def bomb(tmp_path: Path) -> Path:
    (tmp_path / "p.txt").write_text("a bomb now\n")
    return tmp_path


def test_findings_are_coloured_on_a_terminal(bomb: Path) -> None:
    assert "\x1b[1;31munsafe\x1b[0m" in terminal("riskline check -g tiny -q p.txt", bomb)


@pytest.mark.parametrize(
    ("flags", "environment"),
    [("", {"NO_COLOR": "1"}), ("--color never", {}), ("| cat", {})],
    ids=["env", "flag", "pipe"],
)
def test_findings_are_plain_where_colour_is_not_wanted(bomb: Path, flags: str, environment: dict[str, str]) -> None:
    shown = terminal(f"riskline check -g tiny -q p.txt {flags}", bomb, **environment)

    assert "p.txt:1:3  unsafe 0.993  Violent" in shown
    assert "\x1b" not in shown


def test_a_trace_is_coloured_on_a_terminal(bomb: Path) -> None:
    shown = terminal("riskline trace -g tiny -q 'a bomb now'", bomb, COLORTERM="truecolor")

    assert "\x1b[37;48;2;198;4" in shown or "48;2;" in shown
    assert "▲" in shown


def test_progress_is_shown_on_a_terminal_and_gone_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_text('{"text":"hello hello hello"}\n' * 8000)

    shown = terminal("riskline score -g tiny many.jsonl > out.jsonl", tmp_path)

    assert "/8000" in shown
    assert "judged 8000" in shown
    assert (tmp_path / "out.jsonl").read_text().count("\n") == 8000


def test_there_is_no_progress_without_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_text('{"text":"hello hello hello"}\n' * 2000)

    shown = terminal("riskline score -g tiny many.jsonl 2>&1 >out.jsonl | cat", tmp_path)

    assert "/2000" not in shown
    assert "judged 2000" in shown


def test_score_without_input_on_a_terminal_says_what_to_type(tmp_path: Path) -> None:
    shown = terminal("riskline score -g tiny", tmp_path)

    assert "error: nothing to score: no INPUT, and stdin is a terminal" in shown
    assert "hint: riskline score data.jsonl" in shown
