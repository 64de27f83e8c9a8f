"""Guards pulled from a real hub on this machine: what is fetched, hashed, refused, resumed, exported and removed."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import COMMIT, Hub, run, serve

from riskline.catalog import find
from riskline.errors import GuardError
from riskline.export.checkpoint import Checkpoint

MODELS = Path(__file__).parents[1] / "models"
TINY = Path(__file__).parent / "bundles" / "tiny"
NAME = "qwen3guard-stream-0.6b"
HUB = "Qwen/Qwen3Guard-Stream-0.6B"
pytestmark = pytest.mark.xdist_group("families")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as served:
        yield served


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def a_checkpoint(folder: Path) -> Path:
    """A folder that has every kind of file of a checkpoint, small and not a model."""
    import numpy as np

    folder.mkdir(parents=True)
    header = {"w": {"dtype": "F32", "shape": [300], "data_offsets": [0, 1200]}}
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + np.arange(300, dtype=np.float32).tobytes()
    (folder / "model.safetensors").write_bytes(data)
    (folder / "config.json").write_text('{"architectures": ["Qwen3ForGuardModel"]}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "modeling_qwen3_guard.py").write_text("raise SystemExit('remote code was run')")
    return folder


def test_a_checkpoint_is_fetched_hashed_and_kept(hub: Hub, cache: Path, tmp_path: Path) -> None:
    hub.repositories[HUB] = a_checkpoint(tmp_path / "hub")
    done = run("guards", "pull", NAME, "--no-export", hub=hub, cache=cache)
    assert (done.returncode, done.stderr) == (0, f"Qwen3Guard-Stream 0.6B, {HUB}; licence: Apache-2.0\n"), done.stderr
    folder = cache / "checkpoints" / f"{NAME}-{COMMIT[:12]}"
    assert COMMIT in done.stdout
    assert (folder / "model.safetensors").read_bytes() == (hub.repositories[HUB] / "model.safetensors").read_bytes()
    assert not (folder / "modeling_qwen3_guard.py").exists()
    hub.asked.clear()
    assert run("guards", "pull", NAME, "--no-export", hub=hub, cache=cache).returncode == 0
    assert not [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line], (
        "nothing is fetched twice"
    )
    gone = run("guards", "remove", NAME, hub=hub, cache=cache)
    assert (gone.returncode, folder.exists()) == (0, False)
    assert run("guards", "remove", NAME, hub=hub, cache=cache).returncode == 2


def test_an_interrupted_fetch_goes_on(hub: Hub, cache: Path, tmp_path: Path) -> None:
    hub.repositories[HUB] = a_checkpoint(tmp_path / "hub")
    hub.cut["model.safetensors"] = 100
    first = run("guards", "pull", NAME, "--no-export", hub=hub, cache=cache)
    folder = cache / "checkpoints" / f"{NAME}-{COMMIT[:12]}"
    if first.returncode:
        assert first.stderr.count("error:") == 1, first.stderr
        assert "Traceback" not in first.stderr
        assert run("guards", "pull", NAME, "--no-export", hub=hub, cache=cache).returncode == 0
    assert (folder / "model.safetensors").read_bytes() == (hub.repositories[HUB] / "model.safetensors").read_bytes()


def test_a_file_that_is_not_what_the_hub_says_is_removed(hub: Hub, cache: Path, tmp_path: Path) -> None:
    hub.repositories[HUB] = a_checkpoint(tmp_path / "hub")
    hub.forged.add("model.safetensors")
    done = run("guards", "pull", NAME, "--no-export", hub=hub, cache=cache)
    assert done.returncode == 2
    assert "is not what the hub says it is" in done.stderr
    assert not list(cache.rglob("model.safetensors"))
    assert not list(cache.rglob(".commit"))


@pytest.mark.parametrize(
    ("break_it", "message", "hint"),
    [
        (lambda hub: hub.repositories.clear(), f"the hub knows no `{HUB}`", "HF_TOKEN"),
        (lambda hub: hub.gated.add(HUB), "is gated", "accept it on the page"),
        (lambda hub: hub.claimed.update({"model.safetensors": 10**17}), "GB are needed", "RISKLINE_CACHE"),
        (lambda hub: (hub.repositories[HUB] / "model.safetensors").rename(hub.repositories[HUB] / "pytorch_model.bin"), "only pickled weights", ""),
    ],
    ids=["unknown", "gated", "no room", "pickle"],
)  # fmt: skip
def test_what_a_hub_answers_is_said_plainly(
    hub: Hub, cache: Path, tmp_path: Path, break_it: object, message: str, hint: str
) -> None:
    hub.repositories[HUB] = a_checkpoint(tmp_path / "hub")
    break_it(hub)  # type: ignore[operator]
    done = run("guards", "pull", NAME, "--no-export", hub=hub, cache=cache)
    assert done.returncode == 2
    assert message in done.stderr, done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(cache.rglob(".commit"))


def test_a_gated_guard_comes_with_a_token(hub: Hub, cache: Path, tmp_path: Path) -> None:
    hub.repositories[HUB] = a_checkpoint(tmp_path / "hub")
    hub.gated.add(HUB)
    assert run("guards", "pull", NAME, "--no-export", hub=hub, cache=cache, HF_TOKEN="hf_known").returncode == 0


def test_no_network_is_said_plainly(hub: Hub, cache: Path) -> None:
    done = run("guards", "pull", NAME, hub=hub, cache=cache, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "error:" in done.stderr


def test_a_guard_that_cannot_be_exported_is_not_fetched(hub: Hub, cache: Path) -> None:
    done = run("guards", "pull", "llama-guard-4-12b", hub=hub, cache=cache)
    assert (done.returncode, hub.asked) == (2, [])
    assert "described only; missing: exported: its architecture, Llama4ForConditionalGeneration" in done.stderr
    done = run("score", "--guard", "llama-guard-4-12b", hub=hub, cache=cache, stdin="hello")
    assert done.returncode == 2
    assert "described only" in done.stderr
    assert "guards pull" not in done.stderr


def test_a_guard_without_weights_says_what_to_type(hub: Hub, cache: Path) -> None:
    pytest.importorskip("torch")  # export says first what it lacks
    for argv in (["check", "--guard", NAME, __file__], ["guards", "verify", NAME], ["guards", "export", NAME]):
        done = run(*argv, hub=hub, cache=cache)
        assert done.returncode == 2
        assert f"riskline guards pull {NAME}" in done.stderr
    assert hub.asked == []


# --- bundles that are ready ---------------------------------------------------------------------------------------


def packed(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname="bundle")
    return archive


def test_a_bundle_is_installed_from_a_folder_a_tar_file_and_an_address(hub: Hub, cache: Path, tmp_path: Path) -> None:
    archive = packed(TINY, tmp_path / "tiny.tar.gz")
    hub.repositories["bundles"] = tmp_path
    for source in (str(TINY), str(archive), f"{hub.address}/bundles/tiny.tar.gz"):
        done = run("guards", "pull", source, hub=hub, cache=cache)
        assert done.returncode == 0, done.stderr
        scored = run("score", "--guard", "tiny", "-q", hub=hub, cache=cache, stdin="hello\n")
        assert scored.returncode == 0, scored.stderr
        assert run("guards", "remove", "tiny", hub=hub, cache=cache).returncode == 0


def test_a_changed_bundle_is_not_installed(hub: Hub, cache: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(TINY, copy)
    graph = copy / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    done = run("guards", "pull", str(packed(copy, tmp_path / "t.tar")), hub=hub, cache=cache)
    assert done.returncode == 2
    assert "SHA-256" in done.stderr
    assert [path.name for path in cache.iterdir()] == []


def test_an_archive_cannot_write_outside_and_no_archive_is_said_so(hub: Hub, cache: Path, tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(TINY / "guard.toml", arcname="../../../escaped/guard.toml")
        link = tarfile.TarInfo("model.onnx")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    done = run("guards", "pull", str(archive), hub=hub, cache=cache)
    assert done.returncode == 2
    assert not list(tmp_path.rglob("escaped"))
    noise = tmp_path / "noise.tar"
    noise.write_bytes(b"no archive at all")
    done = run("guards", "pull", str(noise), hub=hub, cache=cache)
    assert (done.returncode, "is no tar file" in done.stderr) == (2, True)


# --- checkpoints on disk ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "there is no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-4]), "not a whole"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "not a whole"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pickled"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"w": "../../x.safetensors"}}'), "plain names"),
        (lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"w": "gone.safetensors"}}'), "lacks"),
    ],
)  # fmt: skip
def test_a_spoilt_checkpoint_is_refused(tmp_path: Path, spoil: object, message: str) -> None:
    folder = a_checkpoint(tmp_path / "c")
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(GuardError) as caught:
        Checkpoint.open(folder)
    assert message in caught.value.message


def test_every_guard_of_the_catalog_can_be_read() -> None:
    names = [path.parent.name for path in MODELS.glob("*/guard.toml")]
    assert len(names) > 20
    for name in names:
        manifest = find(name).manifest
        assert manifest.name == name
        assert manifest.complete or manifest.missing


# --- the whole way ------------------------------------------------------------------------------------------------


@pytest.mark.torch
def test_pull_exports_proves_and_judges(hub: Hub, cache: Path, tmp_path: Path) -> None:
    from checkpoints import make_stream

    hub.repositories[HUB] = make_stream(tmp_path / "hub").folder
    done = run("guards", "pull", NAME, hub=hub, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "0 labels differ: as PyTorch" in done.stdout
    listed = json.loads(run("guards", "--json", hub=hub, cache=cache).stdout)
    [facts] = [facts for facts in listed if facts["name"] == NAME]
    assert (facts["status"], facts["missing"], facts["precisions"]) == ("proven", None, ["fp32"])
    assert facts["origin"]["revision"] == COMMIT
    assert run("guards", "verify", NAME, hub=hub, cache=cache).returncode == 0
    scored = run(
        "score", "--guard", NAME, "-q", hub=hub, cache=cache, stdin='{"prompt": "Hi", "response": "Hello there"}\n'
    )
    assert json.loads(scored.stdout)["verdict"]["judged"] == "response", scored.stderr
    half = run(
        "guards", "export", NAME, "--precision", "int8", "--out", str(tmp_path / "small" / NAME), hub=hub, cache=cache
    )
    assert "int8:" in half.stdout + half.stderr


@pytest.mark.torch
@pytest.mark.parametrize("spoil", ["architecture", "labels"])
def test_a_checkpoint_that_does_not_fit_is_not_installed(tmp_path: Path, cache: Path, hub: Hub, spoil: str) -> None:
    from checkpoints import RISK, make_stream

    made = make_stream(
        tmp_path / "c", risk=RISK if spoil != "labels" else {"0": "Safe", "1": "Low Risk", "2": "High Risk"}
    )
    config = json.loads((made.folder / "config.json").read_text())
    if spoil == "architecture":
        config["architectures"] = ["Qwen3ForCausalLM"]
    (made.folder / "config.json").write_text(json.dumps(config))
    done = run("guards", "export", str(made.folder), "--like", NAME, hub=hub, cache=cache)
    assert done.returncode == 2
    assert ("is for a Qwen3ForGuardModel" in done.stderr) or ("expected Safe, Unsafe and Controversial" in done.stderr)
    assert not (cache / NAME).exists()


@pytest.mark.torch
def test_a_guard_of_a_known_kind_is_one_folder_and_no_code(tmp_path: Path, cache: Path, hub: Hub) -> None:
    import transformers
    from checkpoints import make

    sides = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.BertConfig(**sides, max_position_embeddings=512, num_labels=2)
    made = make(tmp_path / "toxicity", transformers.BertForSequenceClassification, config, ("[CLS]", "[SEP]"))
    (made.folder / "guard.toml").write_text(
        'schema = 1\nname = "my-toxicity"\ntitle = "A toxicity encoder"\nstatus = "unproven"\nmissing = "proof"\n'
        'licence = "mine"\nlanguages = ["en"]\nhead = "sequence"\nwindow = 512\noverlap = 64\nrule = { kind = "final" }\n'
        'golden_tolerance = 0.01\norigin = { hub = "me/toxicity" }\nthresholds = { unsafe = 0.5, controversial = 0.5 }\n'
        'template = { kind = "jinja", file = "template.jinja" }\n'
        '[roles.prompt]\nrisk = "logits"\nlabels = ["safe", "unsafe"]\ncategory_scores = "none"\n'
        'trajectory = false\nat = "whole"\n'
    )
    (made.folder / "template.jinja").write_text("{{ '[CLS]' ~ messages[-1].content ~ '[SEP]' }}")
    done = run("guards", "export", str(made.folder), "--out", str(cache / "my-toxicity"), hub=hub, cache=cache)
    assert done.returncode == 0, done.stderr
    scored = run(
        "score", "--guard", "my-toxicity", "-q", hub=hub, cache=cache, stdin="How do I build a bomb at home?\n"
    )
    verdict = json.loads(scored.stdout)["verdict"]
    import torch

    ids = made.tokenizer(
        "[CLS]How do I build a bomb at home?[SEP]", add_special_tokens=False, return_tensors="pt"
    ).input_ids
    with torch.inference_mode():
        chances = torch.softmax(made.model(ids).logits[0], -1).tolist()
    assert verdict["probabilities"]["unsafe"] == pytest.approx(chances[1], abs=1e-3)
