from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BUNDLES, edit, rewrite

from riskline.catalog import check_files, find, guards
from riskline.errors import GuardError, IntegrityError
from riskline.guard import load
from riskline.manifest import Manifest, read_manifest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "`schema` is 2; expected 1"),
        ('title = "Tiny sums, for tests"\n', "", "`title` is missing; expected text"),
        ("window = 64", 'window = "64"', "`window` is '64'; expected a whole number"),
        ("window = 64", "window = true", "`window` is True; expected a whole number"),
        ("overlap = 16", "overlap = 40", "`overlap` is 40; expected at most half the window (32)"),
        ("overlap = 16", "overlap = 16\nwindo = 3", "unknown key `windo`"),
        ('labels = ["safe", "unsafe", "controversial"]', 'labels = ["safe", "safe"]', "in logit order"),
        ('"single"', '"softmax"', "expected single or multi or none"),
        ("[roles.response]", "[roles.system]", "expected prompt or response"),
        ('file = "model.onnx"', 'file = "../model.onnx"', "the plain name of a file in the bundle's folder"),
        ('file = "model.onnx"', 'file = "/etc/passwd"', "the plain name of a file in the bundle's folder"),
        ('[files."tokenizer.json"]', '[files."tokenizer"]', "expected a size and sha256"),
        ('sha256 = "', 'sha256 = "z', "expected 64 hexadecimal digits"),
        ('head = "stream"', "head = stream", "is not TOML"),
    ],
)
def test_a_wrong_manifest_names_the_key(copy: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(GuardError) as caught:
        read_manifest(edit(copy, old, new))

    assert message in caught.value.message


def spoil_hash(folder: Path) -> None:
    path = folder / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def link_out(folder: Path) -> None:
    target = folder.parent / "elsewhere.onnx"
    (folder / "model.onnx").rename(target)
    (folder / "model.onnx").symlink_to(target)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_hash, "has the SHA-256"),
        (lambda folder: (folder / "model.onnx").unlink(), "is missing"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "has 2 bytes; the manifest says"),
        (link_out, "is a link out of its bundle"),
    ],
    ids=["hash", "missing", "size", "link"],
)
def test_a_file_that_differs_is_refused(copy: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    spoil(copy)

    with pytest.raises(IntegrityError) as caught:
        check_files(read_manifest(copy), everything=False)

    assert message in caught.value.message


def test_the_first_hit_on_the_search_path_wins(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(copy, 'title = "Tiny sums, for tests"', 'title = "Mine"')
    monkeypatch.setenv("RISKLINE_MODELS", f"{copy.parent}:{BUNDLES}")

    assert find("tiny").manifest.title == "Mine"


def test_a_broken_manifest_is_listed_as_its_error(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(copy, "schema = 1", "schema = 9")
    monkeypatch.setenv("RISKLINE_MODELS", str(copy.parent))

    found = list(guards())

    assert any(isinstance(guard, GuardError) for guard in found)
    assert all(isinstance(guard, GuardError | Manifest) for guard in found)


def outside(folder: Path, location: str) -> Path:
    """Move the graph's weights to a file of its own at `location`, its hash in the manifest, the weights' not."""
    import onnx
    from onnx.external_data_helper import set_external_data

    model = onnx.load_from_string((folder / "model.onnx").read_bytes())
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    (folder / location).write_bytes(tensor.raw_data)
    set_external_data(tensor, location, length=len(tensor.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    return rewrite(folder, "model.onnx", model.SerializeToString())


def test_weights_that_the_manifest_does_not_list_are_refused(copy: Path) -> None:
    with pytest.raises(IntegrityError, match=r"names `weights.bin`, which its manifest does not list"):
        load(str(outside(copy, "weights.bin")), provider="cpu")


def test_weights_outside_the_bundle_are_refused(copy: Path) -> None:
    with pytest.raises(GuardError, match="cannot load"):
        load(str(outside(copy, "../weights.bin")), provider="cpu")


def test_a_manifest_that_is_not_of_its_graph_is_refused_at_load(copy: Path) -> None:
    with pytest.raises(GuardError, match="has no output `risk_of_prompts`"):
        load(str(edit(copy, 'risk = "prompt_risk"', 'risk = "risk_of_prompts"')), provider="cpu")
    with pytest.raises(GuardError, match=r"has no input `past_key_values\.1\.key`"):
        load(str(edit(copy, "layers = 1", "layers = 2")), provider="cpu")


def test_goldens_belong_to_a_bundle(copy: Path) -> None:
    with pytest.raises(GuardError, match="expected a size and sha256"):
        read_manifest(edit(copy, '[files."golden.jsonl"]', '[files."goldens.jsonl"]'))
