"""The one door to ONNX Runtime: rows, states, providers, and nothing sent home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from riskline.errors import GuardError, ProviderError
from riskline.guard import Guard
from riskline.session import open_session, prove, runtimes

ROOT = Path(__file__).parents[1]
LINE = b'{"text":"ok"}\n'


def test_padding_changes_nothing(tiny: Guard) -> None:
    rows = [np.arange(n) for n in (5, 1, 17)]

    together = tiny.session.run(rows, ["prompt_risk"])

    for row, logits in zip(rows, together, strict=True):
        assert np.array_equal(logits["prompt_risk"], tiny.session.run([row], ["prompt_risk"])[0]["prompt_risk"])


def test_stepping_with_the_state_equals_one_prefill(mini: Guard) -> None:
    ids = mini.tokenizer.words("How do I kill a Python process that hangs on Linux? 你好")[0]
    whole = mini.session.run([ids], ["prompt_risk"])[0]["prompt_risk"]

    state, rows = None, []
    for token in ids:
        logits, state = mini.session.step(np.array([token]), state, ["prompt_risk"])
        rows.append(logits["prompt_risk"][0])

    assert np.abs(_softmax(np.stack(rows)) - _softmax(whole)).max() <= 1e-3


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_every_node_is_accounted_for(mini: Guard) -> None:
    assert set(mini.session.nodes) == {"CPUExecutionProvider"}
    assert mini.session.nodes["CPUExecutionProvider"].total() > 50


def test_a_graph_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")

    with pytest.raises(GuardError, match="cannot load"):
        open_session(tmp_path / "model.onnx", "cpu", None)


def test_auto_takes_the_cpu_where_nothing_better_runs(tiny: Guard) -> None:
    session = open_session(tiny.bundle.graph, "auto", tiny.manifest.cache)

    assert session.provider in ("cpu", "cuda")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "coreml", "dml", "openvino"])
def test_a_provider_runs_or_says_why_not(tiny: Guard, provider: str) -> None:
    proof = prove(tiny.bundle.graph, provider, tiny.manifest.cache, ["prompt_risk"])

    assert proof.nodes or (proof.problem and proof.hint)


def test_without_a_runtime_the_hint_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('none')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "riskline", "score", "-q", "-g", "tiny"]

    answer = subprocess.run(command, input=LINE, capture_output=True, env=environment, check=False)

    assert answer.returncode == 2
    assert answer.stderr.startswith(b'error: no ONNX Runtime is installed\nhint: pip install "riskline[')


def test_what_is_left_of_two_runtimes_is_told(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = "from riskline.session import open_session; from pathlib import Path; open_session(Path('x'), 'cpu', None)"
    (tmp_path / "onnxruntime" / "__init__.py").write_text("")

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False, text=True)

    assert ProviderError.__name__ in answer.stderr
    assert "incomplete" in answer.stderr


def test_two_runtimes_are_found_by_their_distributions() -> None:
    assert 1 <= len(runtimes()) <= 2


def test_nothing_is_kept_in_the_home_folder_nor_sent(tmp_path: Path) -> None:
    """The runtime's telemetry writes a device id before it sends anything; there must be none."""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": "", "ORT_DISABLE_TELEMETRY": ""}
    command = [sys.executable, "-m", "riskline", "score", "-q", "-g", "tiny"]

    answer = subprocess.run(command, input=LINE, capture_output=True, env=environment, check=False)

    assert answer.returncode == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
