"""`riskline guards`: the catalog and its bundles. `verify` and `export` run a guard, only `pull` uses the network."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riskline.catalog import Bundle, cache_folder, check_files, find, guards
from riskline.commands import Ending, note
from riskline.errors import GuardError, RisklineError, UsageError
from riskline.escape import visible
from riskline.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskline.manifest import Manifest

PRECISIONS = ("fp32", "fp16", "int8", "int4")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A guard's name, or the path of a bundle.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


def list_guards(json: AsJson = False) -> Ending:
    """List the guards found, their licences, roles and whether they are proven."""
    found, broken = [], False
    for guard in guards():
        if isinstance(guard, GuardError):
            note(f"error: {guard.message}")
            broken = True
        else:
            found.append(guard)
    if json:
        _write_json([_facts(manifest) for manifest in found])
    else:
        from riskline.show.tables import print_guards

        print_guards(found)
    return Ending(failed=broken)


def show(name: Name, json: AsJson = False) -> Ending:
    """Show one guard: roles, labels, categories, window, decision rule, thresholds, files and their hashes."""
    bundle = find(name)
    if json:
        _write_json(_facts(bundle.manifest))
    else:
        from riskline.show.tables import print_guard

        print_guard(bundle.manifest)
    return Ending()


def verify(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME[:P]]", help="A guard's name, with a precision, or a path; else all."),
    ] = None,
    provider: Annotated[str, typer.Option(metavar="NAME", help="The provider that judges the goldens.")] = "cpu",
) -> Ending:
    """Hash every file of a bundle and judge its golden texts, which a reference implementation scored.

    Exit code 2 if a file or a score differs.
    """
    if name:
        chosen = find(name)
        named = [chosen.precision] if name.endswith(f":{chosen.precision}") else None
        return Ending(failed=not _verify(chosen.manifest, named, provider))
    said = [_verify(guard, None, provider) for guard in guards() if _has_weights(guard)]
    return Ending(failed=not all(said))


def pull(
    name: Annotated[
        str, typer.Argument(metavar="NAME|BUNDLE", help="A guard's name, or a bundle: folder, tar file or address.")
    ],
    precision: Annotated[str, typer.Option(metavar="P", help="What to export: fp32, fp16, int8 or int4.")] = "fp32",
    revision: Annotated[
        str | None, typer.Option(metavar="COMMIT", help="Another commit than the guard's own.", show_default=False)
    ] = None,
    export_it: Annotated[
        bool, typer.Option("--export/--no-export", help="Export the checkpoint once it is here.")
    ] = True,
) -> Ending:
    """Fetch a guard: its checkpoint from its hub, exported at once, or a bundle that is ready.

    The only command that uses the network. HF_ENDPOINT, HF_TOKEN and the proxies' variables are read.
    """
    from riskline.pull import is_bundle, pull_bundle, pull_checkpoint

    _require_precision(precision)
    if is_bundle(name):
        manifest = pull_bundle(name)
        sys.stdout.write(f"{manifest.id} is installed in {visible(str(manifest.folder))}\n")
        return Ending()
    recipe = find(name).manifest
    if "hub" not in recipe.origin:
        raise GuardError(f"guard `{recipe.name}` is of no hub; nothing is to be pulled", hint="riskline guards")
    if recipe.described and export_it:
        raise GuardError(
            f"guard `{recipe.name}` is described only; missing: {recipe.missing}",
            hint=f"riskline guards pull {recipe.name} --no-export fetches its checkpoint alone",
        )
    note(f"{recipe.title}, {recipe.origin['hub']}; licence: {recipe.licence}")
    folder, commit = pull_checkpoint(recipe, revision, progress=sys.stderr.isatty())
    sys.stdout.write(f"{recipe.name}: checkpoint {commit} is in {visible(str(folder))}\n")
    if not export_it:
        return Ending()
    if not _can_export():
        note("note: what exports it is not installed")
        note('hint: pip install torch==2.13.0 && pip install "riskline[export]"')
        note(f"hint: riskline guards export {recipe.name}")
        return Ending(failed=True)
    return _export(recipe, folder, precision, None, commit, force=False)


def export(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FOLDER", help="A pulled guard's name, or the folder of a checkpoint.")
    ],
    like: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The guard whose manifest a folder's checkpoint fits.", show_default=False),
    ] = None,
    precision: Annotated[str, typer.Option(metavar="P", help="fp32, fp16, int8 or int4.")] = "fp32",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The bundle's folder. Default: the cache, under the name.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Install it even if its proof fails.")] = False,
) -> Ending:
    """Make a bundle of a checkpoint (safetensors, config.json, tokenizer) and prove it against PyTorch.

    A folder needs a guard.toml in it, or --like. Nothing of the checkpoint is run but its numbers.
    """
    from riskline.pull import pulled

    _require_precision(precision)
    if not _can_export():
        raise GuardError(
            "export needs PyTorch and transformers",
            hint='pip install torch==2.13.0 && pip install "riskline[export]"',
        )
    if Path(name).is_dir():
        folder, commit = Path(name), None
        recipe = find(like).manifest if like else read_manifest(folder)
    else:
        recipe = find(name).manifest
        folder, commit = pulled(recipe)
    return _export(recipe, folder, precision, out, commit, force=force)


def _export(
    recipe: Manifest, folder: Path, precision: str, out: Path | None, commit: str | None, *, force: bool
) -> Ending:
    from riskline.export.bundle import export as make

    place = out or cache_folder() / recipe.name
    manifest, proof = make(recipe, folder, precision, place, commit=commit, force=force)  # type: ignore[arg-type]
    sys.stdout.write(f"{manifest.id}: {proof}\n{visible(str(manifest.folder))}\n")
    return Ending()


def remove(name: Annotated[str, typer.Argument(metavar="NAME", help="A pulled guard's name.")]) -> Ending:
    """Remove a pulled guard and its checkpoints from the cache."""
    from riskline.pull import remove as gone

    for path in gone(name):
        sys.stdout.write(f"removed {visible(str(path))}\n")
    return Ending()


def _require_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise UsageError(f"--precision is `{precision}`; expected one of: {', '.join(PRECISIONS)}")


def _can_export() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers", "onnx", "tomli_w"))


def _has_weights(guard: Manifest | GuardError) -> bool:
    return isinstance(guard, GuardError) or guard.complete


def _verify(manifest: Manifest | GuardError, precisions: Sequence[str] | None, provider: str) -> bool:
    if isinstance(manifest, GuardError):
        note(f"error: {manifest.message}")
        return False
    try:
        if not manifest.complete:
            raise GuardError("it has no weights on this machine", hint=f"riskline guards pull {manifest.name}")
        check_files(manifest, everything=True)
        sys.stdout.write(f"{manifest.id}: {len(manifest.files)} files are as the manifest says\n")
    except RisklineError as error:
        return _told(manifest.name, error)
    said = [_verify_goldens(Bundle(manifest, one), provider) for one in precisions or manifest.precisions]
    return all(said)


def _told(name: str, error: RisklineError) -> bool:
    note(f"error: {name}: {error.message}")
    if error.hint:
        note(f"hint: {error.hint}")
    return False


def _verify_goldens(bundle: Bundle, provider: str) -> bool:
    from riskline.golden import compare, read_goldens
    from riskline.guard import load

    manifest = bundle.manifest
    worst, count, flips = 0.0, 0, 0
    try:
        guard = load(bundle, provider=provider)
        for golden in read_goldens(manifest.folder / "golden.jsonl"):
            difference, flipped = compare(guard, golden)
            worst, count, flips = max(worst, difference), count + 1, flips + flipped
    except RisklineError as error:
        return _told(f"{manifest.name}:{bundle.precision}", error)
    good = count > 0 and worst <= manifest.golden_tolerance and not flips
    said = "as the reference" if good else "NOT as the reference"
    sys.stdout.write(
        f"{manifest.id} {bundle.precision}: {count} golden texts, largest difference of a probability {worst:.4f} "
        f"(tolerance {manifest.golden_tolerance}), {flips} labels differ: {said}\n"
    )
    return good


def _facts(manifest: Manifest) -> dict[str, object]:
    return {
        "name": manifest.name,
        "id": manifest.id,
        "title": manifest.title,
        "status": manifest.status,
        "missing": manifest.missing,
        "licence": manifest.licence,
        "languages": manifest.languages,
        "head": manifest.head,
        "window": manifest.window,
        "overlap": manifest.overlap,
        "rule": str(manifest.rule),
        "thresholds": asdict(manifest.thresholds),
        "roles": {
            role: {
                "labels": [label.name for label in outputs.labels],
                "categories": outputs.categories,
                "category_scores": outputs.category_scores,
                "trajectory": outputs.trajectory,
                "thresholds": asdict(manifest.limits(role)),
            }
            for role, outputs in manifest.roles.items()
        },
        "precisions": manifest.precisions,
        "files": {name: {"size": facts.size, "sha256": facts.sha256} for name, facts in manifest.files.items()},
        "origin": dict(manifest.origin),
        "folder": visible(str(manifest.folder)),
    }


def _write_json(value: object) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
