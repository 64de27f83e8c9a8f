"""Which format an input has, and the reader of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, TypeAlias

from riskline.errors import UsageError
from riskline.escape import visible
from riskline.records import Failure, Record
from riskline.sources.csv_file import read_table
from riskline.sources.json_file import read_json
from riskline.sources.jsonl import read_jsonl
from riskline.sources.lines import read_lines
from riskline.sources.parquet_file import installed, read_parquet
from riskline.sources.stream import Input
from riskline.sources.text import read_text
from riskline.sources.yaml_file import read_yaml

if TYPE_CHECKING:
    from riskline.sources.options import SourceOptions

Reader: TypeAlias = Callable[[Input], Iterator[Record | Failure]]

SOURCES: Final[Mapping[str, Reader]] = {
    "text": read_text,
    "lines": read_lines,
    "jsonl": read_jsonl,
    "json": read_json,
    "yaml": read_yaml,
    "csv": partial(read_table, delimiter=","),
    "tsv": partial(read_table, delimiter="\t"),
    "parquet": read_parquet,
    "markdown": read_text,
}
FORMATS: Final = ("auto", *SOURCES)
"""What `--input-format` takes."""

EXTENSIONS: Final[Mapping[str, str]] = {
    "txt": "text",
    "prompt": "text",
    "md": "markdown",
    "markdown": "markdown",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "json",
    "yaml": "yaml",
    "yml": "yaml",
    "csv": "csv",
    "tsv": "tsv",
    "parquet": "parquet",
}


def extension(path: str) -> str:
    """Return the extension that tells the format, in lower case: `jsonl` of `Data.JSONL.gz`."""
    name = PurePath(path).name.lower().removesuffix(".gz")
    return PurePath(name).suffix.removeprefix(".")


def known_format(path: str, options: SourceOptions) -> str | None:
    """Return the format that the options or the extension name, or None where neither does."""
    if options.input_format != "auto":
        return options.input_format
    return EXTENSIONS.get(extension(path))


def fallback(options: SourceOptions) -> str:
    """Return the format of what nothing is known about."""
    return "text" if options.for_command == "check" else "lines"


def unsupported(path: str, options: SourceOptions) -> str | None:
    """Return the name of the encoding that keeps this file from being read, or None."""
    if path.lower().endswith(".zst"):
        return "zst"
    return "parquet" if known_format(path, options) == "parquet" and not installed() else None


def refuse(path: str, options: SourceOptions) -> None:
    """Raise UsageError for a named file that has to be converted first."""
    kind = unsupported(path, options)
    name = visible(path)
    if kind == "zst":
        hint = f"zstd -dc {name} | riskline {options.for_command} --input-format jsonl -"
        raise UsageError(f"`{name}` is compressed with Zstandard; expected a plain file or gzip", hint=hint)
    if kind == "parquet":
        raise _no_parquet(f"`{name}` is Parquet")


def check_format(options: SourceOptions) -> None:
    """Raise UsageError for a format that does not exist."""
    if options.input_format == "parquet" and not installed():
        raise _no_parquet("`--input-format parquet` cannot be read here")
    if options.input_format not in FORMATS:
        formats = ", ".join(f"`{name}`" for name in FORMATS)
        raise UsageError(f"no input format is named `{visible(options.input_format)}`; expected one of {formats}")


def _no_parquet(found: str) -> UsageError:
    return UsageError(f"{found}; expected pyarrow to be installed", hint="pip install 'riskline[parquet]'")
