"""Classifiers that read a text from both sides, as optimum exports them: one answer for a whole row, no cache."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path

from riskline.errors import GuardError
from riskline.export.checkpoint import Checkpoint


def assemble_encoder(checkpoint: Checkpoint, output: str, precision: str, folder: Path) -> None:
    """Write the graph of a `*ForSequenceClassification` into `folder`, its logits named `output`.

    Raises:
        GuardError: optimum is missing or cannot export the architecture, or the precision is not fp32.
    """
    if precision != "fp32":
        raise GuardError(f"an encoder is exported in fp32; `{precision}` is for decoders", hint="--precision fp32")
    try:
        import onnx
        from optimum.exporters.onnx import main_export
    except ImportError as error:
        raise GuardError("encoders need optimum", hint='pip install "riskline[export]"') from error
    with tempfile.TemporaryDirectory() as staging, _quietly():
        try:
            # The folder's own code is not run: trust_remote_code stays off.
            main_export(
                str(checkpoint.folder), staging, task="text-classification", do_validation=False, local_files_only=True
            )
        except (ValueError, KeyError, RuntimeError, OSError) as error:
            name = (checkpoint.config.get("architectures") or ["none"])[0]
            raise GuardError(f"optimum cannot export {name}: {str(error).splitlines()[0]}") from error
        graph = onnx.load(Path(staging) / "model.onnx")
    for node in graph.graph.node:
        node.output[:] = [output if name == "logits" else name for name in node.output]
    for value in graph.graph.output:
        value.name = output if value.name == "logits" else value.name
    (folder / "model.onnx").unlink(missing_ok=True)
    size = graph.ByteSize()
    if size > 1_500_000_000:
        raise GuardError(f"the encoder's graph has {size / 1e9:.1f} GB; at most 1.5 GB can be kept in one file")
    onnx.save(graph, folder / "model.onnx")


@contextlib.contextmanager
def _quietly():  # type: ignore[no-untyped-def]  # noqa: ANN202
    """The exporter tells of its traces; what went wrong is raised."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
