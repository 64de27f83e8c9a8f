"""`riskline guards`: the catalog and its bundles, from manifests alone; only `verify` runs a guard."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from riskline.catalog import Bundle, check_files, find, guards
from riskline.commands import Ending, note
from riskline.errors import GuardError, RisklineError
from riskline.escape import visible

if TYPE_CHECKING:
    from riskline.manifest import Manifest

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
        str | None, typer.Argument(metavar="[NAME]", help="A guard's name or path; without it, all.")
    ] = None,
    provider: Annotated[str, typer.Option(metavar="NAME", help="The provider that judges the goldens.")] = "cpu",
) -> Ending:
    """Hash every file of a bundle and judge its golden texts, which a reference implementation scored.

    Exit code 2 if a file or a score differs.
    """
    failed = False
    for found in [find(name)] if name else list(guards()):
        bundle = Bundle(found, found.precisions[0]) if not isinstance(found, Bundle | GuardError) else found
        failed |= not _verify(bundle, provider)
    return Ending(failed=failed)


def _verify(bundle: Bundle | GuardError, provider: str) -> bool:
    if isinstance(bundle, GuardError):
        note(f"error: {bundle.message}")
        return False
    manifest = bundle.manifest
    try:
        check_files(manifest, everything=True)
        sys.stdout.write(f"{manifest.id}: {len(manifest.files)} files are as the manifest says\n")
        return _verify_goldens(bundle, provider)
    except RisklineError as error:
        note(f"error: {manifest.name}: {error.message}")
        if error.hint:
            note(f"hint: {error.hint}")
        return False


def _verify_goldens(bundle: Bundle, provider: str) -> bool:
    from riskline.golden import compare, read_goldens
    from riskline.guard import load

    manifest = bundle.manifest
    guard = load(bundle, provider=provider)
    worst, count, flips = 0.0, 0, 0
    for golden in read_goldens(manifest.folder / "golden.jsonl"):
        difference, flipped = compare(guard, golden)
        worst, count, flips = max(worst, difference), count + 1, flips + flipped
    good = count > 0 and worst <= manifest.golden_tolerance and not flips
    said = "as the reference" if good else "NOT as the reference"
    sys.stdout.write(
        f"{manifest.id}: {count} golden texts, largest difference of a probability {worst:.4f} "
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
        "thresholds": {"unsafe": manifest.thresholds.unsafe, "controversial": manifest.thresholds.controversial},
        "roles": {
            role: {
                "labels": [label.name for label in outputs.labels],
                "categories": outputs.categories,
                "category_scores": outputs.category_scores,
                "trajectory": outputs.trajectory,
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
