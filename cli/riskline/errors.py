"""Everything that can go wrong, as one tree.

RisklineError               told plainly as `error:` and `hint:`, exit code 2
├── UsageError              options that contradict each other or make no sense
├── ConfigurationError      a configuration or policy file that cannot be used
├── InputError              a named input that is missing or unreadable
├── GuardError              a guard that is unknown, incomplete or unusable
│   └── IntegrityError      a bundle file that is missing or differs from its manifest
├── ProviderError           an execution provider or runtime that cannot run
├── OutputError             an output that cannot be written
└── RecordError             one record that cannot be judged; carries the failure's code and never ends a run
"""

from __future__ import annotations


class RisklineError(Exception):
    """An expected error: what was found and what was expected, and what to type next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RisklineError):
    """Options or arguments that contradict each other or make no sense."""


class ConfigurationError(RisklineError):
    """A configuration or policy file that cannot be used."""


class InputError(RisklineError):
    """A named input that is missing or unreadable."""


class GuardError(RisklineError):
    """A guard that is unknown, incomplete or unusable."""


class IntegrityError(GuardError):
    """A bundle file that is missing or differs from its manifest."""


class ProviderError(RisklineError):
    """An execution provider, or ONNX Runtime itself, that cannot run."""


class OutputError(RisklineError):
    """An output that cannot be written."""


UNREAD = "unread"
"""The code of a text that has no character that its guard reads: it is judged as a blank one."""


class RecordError(RisklineError):
    """One record that cannot be judged: becomes a `Failure` in its place."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
