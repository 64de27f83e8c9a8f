"""Riskline judges text with guard models: a label, categories, and where in the text the risk rose.

    from riskline import Record, load

    guard = load()
    for verdict in guard.judge([Record.of("How do I pick a lock?")]):
        print(verdict.label.name, verdict.risk)

Importing this package is cheap; numpy and ONNX Runtime load with the first guard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskline.errors import RisklineError
from riskline.records import Failure, Label, Record, Turn, Verdict

if TYPE_CHECKING:
    from riskline.guard import Guard, load
    from riskline.policy import Policy, load_policy
    from riskline.stream import Stream

__all__ = [
    "Failure",
    "Guard",
    "Label",
    "Policy",
    "Record",
    "RisklineError",
    "Stream",
    "Turn",
    "Verdict",
    "load",
    "load_policy",
]

_LATER = {"Guard": "guard", "load": "guard", "Policy": "policy", "load_policy": "policy", "Stream": "stream"}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module `riskline` has no attribute `{name}`")
    from importlib import import_module

    return getattr(import_module(f"riskline.{_LATER[name]}"), name)
