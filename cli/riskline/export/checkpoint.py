"""A checkpoint on disk: config.json and safetensors, one tensor at a time, without PyTorch.

Data only: no pickle is opened, no code of the checkpoint is run, and no file outside its folder is named by its index.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from riskline.errors import GuardError

if TYPE_CHECKING:
    from riskline.records import RawFloats

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LONGEST_HEADER = 100 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor's bytes are."""

    file: Path
    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint's configuration, and its tensors by name."""

    folder: Path
    config: Mapping[str, Any]
    stored: Mapping[str, Stored]

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read the configuration and where every tensor is.

        Raises:
            GuardError: something is missing, malformed, truncated or pickled.
        """
        config = read_json(folder / "config.json")
        stored: dict[str, Stored] = {}
        for shard in _shards(folder):
            stored |= _header(shard)
        return cls(folder, config, stored)

    def names(self) -> list[str]:
        """Return the names of all tensors."""
        return sorted(self.stored)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape.

        Raises:
            GuardError: there is no such tensor.
        """
        return self._find(name).shape

    def tensor(self, name: str) -> RawFloats:
        """Return a tensor in single precision.

        Raises:
            GuardError: there is no such tensor, or it is not of floats.
        """
        found = self._find(name)
        count = math.prod(found.shape)
        with found.file.open("rb") as data:
            data.seek(found.start)
            if found.kind == "BF16":  # the upper half of a single
                wide = np.fromfile(data, "<u2", count).astype(np.uint32) << 16
                return wide.view(np.float32).reshape(found.shape)
            kinds = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
            if found.kind not in kinds:
                raise GuardError(f"the tensor `{name}` is of {found.kind}; expected F32, F16 or BF16")
            return np.fromfile(data, kinds[found.kind], count).astype(np.float32).reshape(found.shape)

    def _find(self, name: str) -> Stored:
        if name not in self.stored:
            raise GuardError(f"`{self.folder}` has no tensor `{name}`, which its architecture needs")
        return self.stored[name]


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a checkpoint.

    Raises:
        GuardError: it is missing, or is not a JSON object.
    """
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise GuardError(f"`{path.parent}` is no checkpoint: there is no {path.name} in it") from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise GuardError(f"`{path}` is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise GuardError(f"`{path}` is not a JSON object")
    return value


def _shards(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        names = sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))
        for name in names:
            if not isinstance(name, str) or name != Path(name).name or not name.endswith(".safetensors"):
                raise GuardError(
                    f"`{folder / INDEX}` names the file {name!r}; expected plain names of safetensors files"
                )
            if not (folder / name).is_file():
                raise GuardError(f"`{folder}` lacks `{name}`, which its index names", hint="pull the checkpoint again")
        if names:
            return [folder / name for name in names]
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if found := sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED):
        raise GuardError(
            f"`{folder}` has only pickled weights (`{found[0]}`), refused because loading them runs code; "
            "expected safetensors"
        )
    raise GuardError(f"`{folder}` has no weights; expected {WEIGHTS}, or {INDEX} and its files")


def _header(path: Path) -> dict[str, Stored]:
    """Where the tensors of one file are; every offset lies inside it."""
    size = path.stat().st_size
    wrong = GuardError(f"`{path}` is not a whole safetensors file", hint="pull the checkpoint again")
    with path.open("rb") as data:
        first = data.read(8)
        if len(first) < 8 or not 2 <= (length := struct.unpack("<Q", first)[0]) <= min(size - 8, _LONGEST_HEADER):
            raise wrong
        try:
            header = orjson.loads(data.read(length))
        except orjson.JSONDecodeError as error:
            raise wrong from error
    stored, begin = {}, 8 + length
    for name, facts in header.items():
        if name == "__metadata__":
            continue
        try:
            start, end = facts["data_offsets"]
            shape = tuple(int(side) for side in facts["shape"])
            fits = math.prod(shape) * _SIZES[facts["dtype"]] == end - start and 0 <= start <= end <= size - begin
        except (KeyError, TypeError, ValueError) as error:
            raise wrong from error
        if not fits:
            raise wrong
        stored[name] = Stored(path, facts["dtype"], shape, begin + start, begin + end)
    return stored
