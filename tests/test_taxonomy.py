"""Taxonomies: complete, consistent with the guards' own categories, and said so where a map loses something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Cli

from riskline.errors import UsageError
from riskline.manifest import read_manifest
from riskline.taxonomy import categories, counterpart, own_taxonomy, renaming, taxonomies

MODELS = Path(__file__).parents[1] / "models"
NINE = {category.name for category in categories("qwen3guard")}


def test_sizes_are_the_published_ones() -> None:
    sizes = {name: len(rows) for name, (_, rows) in taxonomies().items()}
    assert sizes == {
        "qwen3guard": 9, "mlcommons": 12, "llama-guard-1": 6, "llama-guard-2": 11, "llama-guard-3": 14,
        "aegis-2": 23, "duoguard": 12, "sguard": 5, "openai": 13,
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(taxonomies()))
def test_every_row_maps_to_one_of_the_nine_or_says_that_nothing_is_like_it(name: str) -> None:
    rows = categories(name)
    assert len({row.written for row in rows}) == len(rows)
    for row in rows:
        assert row.hub is None or row.hub in NINE
        assert row.hub or not row.lossy
        assert row.about


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/guard.toml")), ids=lambda path: path.parent.name)
def test_every_guards_categories_are_of_a_taxonomy(path: Path) -> None:
    manifest = read_manifest(path.parent)
    every = {name for outputs in manifest.roles.values() for name in outputs.categories}
    if every:
        own = own_taxonomy(every)
        assert own, every
        assert set(renaming(every, own).values()) == {row.written for row in categories(own) if row.name in every}


def test_a_taxonomy_mapped_to_the_nine_and_back_stays_in_its_kind() -> None:
    for name in taxonomies():
        for row in categories(name):
            there = counterpart(row, "qwen3guard")
            assert (there.written if there else None) == row.hub


def test_score_renames_and_keeps_the_guards_own(cli: Cli) -> None:
    done = cli("score", "--taxonomy", "mlcommons", "-q", stdin=b"hello there\n", guard="riskline-mini")
    verdict = json.loads(done.text)["verdict"]
    assert "vcr: Violent Crimes" in verdict["categories"]
    assert set(verdict["native_categories"]) <= NINE
    assert verdict["categories"]["vcr: Violent Crimes"] == verdict["native_categories"]["Violent"]


def test_label_and_risk_do_not_depend_on_names(cli: Cli) -> None:
    plain, named = (
        json.loads(cli("score", *flags, "-q", stdin=b"I will kill you all tomorrow.\n", guard="riskline-mini").text)
        for flags in ([], ["--taxonomy", "openai"])
    )
    for key in ("label", "risk", "probabilities", "onset"):
        assert plain["verdict"][key] == named["verdict"][key]


def test_a_guard_without_categories_has_none_to_rename(cli: Cli) -> None:
    done = cli("score", "--taxonomy", "openai", stdin=b"x\n", guard="wildguard-7b")
    assert (done.code, "names no categories" in done.err, "pull" in done.err) == (2, True, False)


def test_an_unknown_taxonomy_or_category_is_refused(cli: Cli) -> None:
    done = cli("score", "--taxonomy", "mlcomons", stdin=b"x\n", guard="riskline-mini")
    assert (done.code, "did you mean `mlcommons`?" in done.err) == (2, True)
    done = cli("explain", "Violnt", guard=None)
    assert (done.code, "did you mean `Violent`?" in done.err) == (2, True)
    with pytest.raises(UsageError):
        categories("nothing")


def test_explain_says_what_is_lost(cli: Cli) -> None:
    said = cli("explain", "S5", guard=None).text
    assert "S5: Defamation (Llama Guard 3" in said
    assert "qwen3guard: Unethical Acts (lossy)" in said
    assert "S5: Specialized Advice (Llama Guard 2" in said
    assert "nothing like it" in said
    assert "qwen3guard: Qwen3Guard (nine)" in cli("explain", guard=None).text


@pytest.mark.parametrize(
    ("taxonomy", "name", "other", "there"),
    [
        ("llama-guard-2", "Hate", "llama-guard-3", "S10: Hate"),
        ("mlcommons", "Hate", "openai", "hate"),
        ("llama-guard-2", "Child Exploitation", "llama-guard-3", "S4: Child Exploitation"),
        ("duoguard", "Specialized advice", "mlcommons", "spc: Specialized Advice"),
        ("llama-guard-3", "Defamation", "mlcommons", "dfm: Defamation"),
        ("llama-guard-3", "Indiscriminate Weapons", "mlcommons", "iwp: Indiscriminate Weapons"),
        ("qwen3guard", "Unethical Acts", "llama-guard-3", "S10: Hate"),
        ("openai", "sexual/minors", "llama-guard-3", "S4: Child Exploitation"),
        ("qwen3guard", "Jailbreak", "mlcommons", None),
    ],
)
def test_the_same_name_or_hazard_goes_before_the_nine(taxonomy: str, name: str, other: str, there: str | None) -> None:
    [row] = [row for row in categories(taxonomy) if row.name == name]
    found = counterpart(row, other)
    assert (found.written if found else None) == there


def test_what_has_the_same_name_maps_to_it() -> None:
    for one in taxonomies():
        for other in taxonomies():
            names = {row.name.casefold(): row.written for row in categories(other)}
            for row in categories(one):
                if row.name.casefold() in names:
                    found = counterpart(row, other)
                    assert found is not None
                    assert found.written == names[row.name.casefold()]
