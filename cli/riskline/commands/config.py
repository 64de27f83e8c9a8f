"""Defaults for flags from `[tool.riskline]` in the nearest pyproject.toml, or from riskline.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from riskline.catalog import refuse_folder
from riskline.errors import ConfigurationError
from riskline.taxonomy import taxonomies

NAME = "riskline.toml"


def find_config(start: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the nearest configuration at or above `start` and its tables; riskline.toml before pyproject.toml.

    Raises:
        ConfigurationError: the file found cannot be read or is not TOML.
    """
    for folder in (start, *start.parents):
        own = folder / NAME
        if own.is_file():
            return own, _load(own)
        project = folder / "pyproject.toml"
        if project.is_file() and (table := _own(project)) is not None:
            return project, table
    return None


def _own(project: Path) -> dict[str, Any] | None:
    """The table tool.riskline of a pyproject.toml, if it has one."""
    tool = _load(project).get("tool", {})
    table = tool.get("riskline") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigurationError(f"{project}: `tool.riskline` is {table!r}; expected a table")
    return table


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read `{path}`: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOML and UTF-8 errors are ValueErrors
        raise ConfigurationError(f"`{path}` is not TOML: {error}") from error


def defaults(path: Path, tables: Mapping[str, Any], known: Mapping[str, set[str]]) -> dict[str, dict[str, Any]]:
    """Return the defaults of each command's flags; keys outside a command's table hold for all that have the flag.

    `known` names the flags of each command, in parameter spelling.

    Raises:
        ConfigurationError: a key that no command has, or a guard that is not in the catalog.
    """
    found: dict[str, dict[str, Any]] = {command: {} for command in known}
    for key, value in tables.items():
        if isinstance(value, dict) and key in known:
            continue
        name = key.replace("-", "_")
        takers = [command for command, flags in known.items() if name in flags]
        if not takers:
            raise ConfigurationError(f"{path}: unknown key `{key}`", hint="riskline check --help names the flags")
        for command in takers:
            found[command][name] = value
    for command, flags in known.items():
        for key, value in tables.get(command, {}).items():
            name = key.replace("-", "_")
            if name not in flags:
                raise ConfigurationError(f"{path}: unknown key `{command}.{key}`", hint=f"riskline {command} --help")
            found[command][name] = value
    for values in found.values():
        _refuse_choosing(values, path)
        policy = path.parent / str(values.get("policy", ""))
        if "policy" in values and policy.is_file():  # beside the configuration, wherever the command is run
            values["policy"] = str(policy)
    return found


def _refuse_choosing(values: Mapping[str, Any], path: Path) -> None:
    """A pull request must not be able to choose what calls everything safe."""
    if "guard" in values:
        refuse_folder(str(values["guard"]), str(path))
    if "guideline" in values:
        raise ConfigurationError(f"{path}: a configuration file may not set `guideline`", hint="pass --guideline")
    if (taxonomy := values.get("taxonomy")) is not None and taxonomy not in taxonomies():
        raise ConfigurationError(
            f"{path}: `taxonomy` is {taxonomy!r}; a configuration file may name only: {', '.join(taxonomies())}"
        )
