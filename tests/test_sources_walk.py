"""Walks: which files of a folder are judged, in which order, and why the others are not."""

from __future__ import annotations

import gzip
import io
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from riskline.errors import InputError
from riskline.records import Chosen, Failure, Record, Skip
from riskline.sources import Item, SourceOptions, read


def items(*paths: Path | str, **options: Any) -> list[Item]:
    return list(read([str(path) for path in paths], SourceOptions(**options), io.BytesIO()))


def grow(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return root


def git(folder: Path, *arguments: str) -> str:
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}
    command = ["git", "-c", "core.excludesFile=", *arguments]
    return subprocess.run(command, cwd=folder, env=settings, check=True, capture_output=True, text=True).stdout


def judged(found: list[Item], root: Path) -> list[str]:
    return [item.origin.path.removeprefix(f"{root}/") for item in found if isinstance(item, Record)]


def skipped(found: list[Item], root: Path) -> dict[str, str]:
    return {item.path.removeprefix(f"{root}/"): item.reason for item in found if isinstance(item, Skip)}


def test_a_walk_takes_known_extensions_in_the_order_of_whole_paths(tmp_path: Path) -> None:
    line = '{"text":"a"}'
    grow(tmp_path, dict.fromkeys(["b.jsonl", "a/z.json", "a/c/d.ndjson", ".hidden/e.JSONL", "z.yaml", "z.yml"], line))
    grow(
        tmp_path, dict.fromkeys(["a.txt", "a-b.md", "n.markdown", "n.prompt", "a/Ü.txt", "n.csv", "n.tsv"], "text\na\n")
    )
    (tmp_path / "y.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    grow(
        tmp_path,
        {"code.py": "x", "Makefile": "x", "q.jsonl.zst": "x", "r.exe.zst": "x", "s.bin.gz": "x"},
    )

    found = items(tmp_path)

    assert judged(found, tmp_path) == [
        *(
            ".hidden/e.JSONL",
            "a-b.md",
            "a.txt",
            "a/c/d.ndjson",
            "a/z.json",
            "a/Ü.txt",
            "b.jsonl",
            "n.csv",
            "n.markdown",
        ),
        *("n.prompt", "n.tsv", "y.jsonl.gz", "z.yaml", "z.yml"),
    ]
    assert skipped(found, tmp_path) == {
        "Makefile": "other extension",
        "code.py": "other extension",
        "q.jsonl.zst": "not supported: zst",
        "r.exe.zst": "other extension",
        "s.bin.gz": "other extension",
    }
    assert not [item for item in found if isinstance(item, Chosen | Failure)]
    assert items(tmp_path) == found


def test_include_takes_more_files(tmp_path: Path) -> None:
    grow(tmp_path, {"a.log": "a\nb", "logs/b.log": "b", "docs/c.rst": "c", "d.py": "d"})

    found = items(tmp_path, include=("*.log", "docs/**/*.rst"), for_command="score")

    assert judged(found, tmp_path) == ["a.log", "a.log", "docs/c.rst", "logs/b.log"]
    assert skipped(found, tmp_path) == {"d.py": "other extension"}


def test_paths_are_joined_with_the_folder_as_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path, {"d/a.txt": "a"})
    monkeypatch.chdir(tmp_path)

    for folder in ("d", "d/", ".", "./d", str(tmp_path / "d")):
        path = str(tmp_path / "d/a.txt") if folder.startswith("/") else "d/a.txt"
        assert [item.origin.path for item in items(folder) if isinstance(item, Record)] == [path]


def test_a_document_without_a_record_is_passed_over_in_a_walk_only(tmp_path: Path) -> None:
    grow(tmp_path, {
        "package.json": '{"name": "x", "version": "1"}',
        "locale.json": '{"messages": {"hello": "hallo"}}',
        "list.json": "[1, 2, 3]",
        "empty.json": "",
        "none.json": "[]",
        "ci.yaml": "on: push\njobs: {}\n",
        "notes.yaml": "# nothing\n",
        "prompts.yaml": "prompt: true\n",
        "data.csv": "title,count\na,1\nb,2\n",
        "header.csv": "text\n",
    })  # fmt: skip

    found = items(tmp_path)

    assert set(skipped(found, tmp_path).values()) == {"no recognisable record"}
    assert len(found) == 10
    for path in sorted(tmp_path.iterdir()):
        explicit = items(path)
        assert all(isinstance(item, Failure) for item in explicit)
        assert len(explicit) == {"list.json": 3, "data.csv": 2, "none.json": 0, "header.csv": 0}.get(path.name, 1)


def test_a_document_that_is_broken_or_partly_data_is_a_failure_in_a_walk(tmp_path: Path) -> None:
    grow(tmp_path, {
        "a.json": '{"text": ',
        "b.json": '[{"a": 1}, {"text": "b"}, 5]',
        "c.yaml": "text: [",
        "d.jsonl": '{"name": "x"}\n',
        "e.csv": 'text\n"a"b\n',
        "f.txt": "\udcff",
        "g.json": '{"text": "\\ud800"}',
    })  # fmt: skip

    found = items(tmp_path)

    assert [item.code if isinstance(item, Failure) else "record" for item in found] == [
        *("invalid-json", "missing-field", "record", "not-an-object", "invalid-yaml", "missing-field"),
        *("invalid-csv", "invalid-utf8", "lone-surrogate"),
    ]


def test_links_and_special_files_are_passed_over(tmp_path: Path) -> None:
    outside = grow(tmp_path / "outside", {"secret.txt": "s"})
    root = grow(tmp_path / "root", {"a.txt": "a"})
    (root / "link.txt").symlink_to(outside / "secret.txt")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "broken.txt").symlink_to(root / "nowhere")
    os.mkfifo(root / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket.txt"))

    found = items(root)

    assert judged(found, root) == ["a.txt"]
    assert skipped(found, root) == {
        **dict.fromkeys(["link.txt", "folder", "loop", "broken.txt"], "symlink"),
        **dict.fromkeys(["pipe.txt", "socket.txt"], "not a regular file"),
    }
    assert judged(items(root / "folder"), root) == ["folder/secret.txt"]
    assert judged(items(root / "link.txt"), root) == ["link.txt"]
    with pytest.raises(InputError, match="no file or folder"):
        items(root / "broken.txt")
    with pytest.raises(InputError, match="cannot be read"):
        items(root / "socket.txt")


def test_gitignore_is_honoured_at_every_level(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    names = [
        "a.txt",
        "b.txt",
        "build/x.txt",
        "build/deep/y.txt",
        "sub/a.txt",
        "sub/keep.txt",
        "sub/only/c.txt",
        "info.txt",
    ]
    grow(tmp_path, dict.fromkeys(names, "x"))
    grow(tmp_path, {
        ".gitignore": "\ufeffb.txt\r\nbuild/\n/sub/*.txt\n!sub/keep.txt\n",
        "sub/.gitignore": "[\n\\\nonly/\n",
        ".git/info/exclude": "info.txt\n",
        "with/.gitignore": "*\n!.gitignore\n!*.md\n",
        "with/a.txt": "x",
        "with/b.md": "x",
    })  # fmt: skip

    found = items(tmp_path)

    assert judged(found, tmp_path) == ["a.txt", "sub/keep.txt", "with/b.md"]
    ignored = ["b.txt", "build", "info.txt", "sub/a.txt", "sub/only", "with/a.txt"]
    assert skipped(found, tmp_path) == {
        ".git": "git's own files",
        **dict.fromkeys([".gitignore", "sub/.gitignore", "with/.gitignore"], "other extension"),
        **dict.fromkeys(ignored, "ignored by .gitignore"),
    }
    assert judged(items(tmp_path / "sub"), tmp_path) == ["sub/keep.txt"]
    assert judged(items(tmp_path / "b.txt"), tmp_path) == ["b.txt"]
    assert judged(items(tmp_path / "build"), tmp_path) == ["build/deep/y.txt", "build/x.txt"]
    assert judged(items(tmp_path / "build" / "deep"), tmp_path) == ["build/deep/y.txt"]


def test_a_linked_work_tree_has_the_rules_of_its_repository(tmp_path: Path) -> None:
    main = grow(tmp_path / "main", {"a.txt": "x"})
    git(main, "init", "-q")
    git(main, "add", "a.txt")
    git(main, "-c", "user.name=n", "-c", "user.email=e@x", "commit", "-qm", "first")
    git(main, "worktree", "add", "-q", str(tmp_path / "linked"))
    grow(main, {".git/info/exclude": "private.txt\n"})
    linked = grow(tmp_path / "linked", {"private.txt": "x", "d/private.txt": "x"})

    assert judged(items(linked), linked) == ["a.txt"]
    assert judged(items(linked / "d"), linked) == []


def test_gitignore_files_that_are_no_files_change_nothing(tmp_path: Path) -> None:
    grow(tmp_path, {"a.txt": "a", "one/b.txt": "b", "two/c.txt": "c", "rules": "*.txt\n"})
    grow(tmp_path, {"three/.git": "gitdir: nowhere\n", "three/d.txt": "d", "four/.git": "\udcff\0", "four/e.txt": "e"})
    (tmp_path / ".gitignore").mkdir()
    (tmp_path / "one/.gitignore").symlink_to(tmp_path / "rules")
    os.mkfifo(tmp_path / "two/.gitignore")

    assert judged(items(tmp_path), tmp_path) == ["a.txt", "four/e.txt", "one/b.txt", "three/d.txt", "two/c.txt"]
    assert judged(items(tmp_path / "three"), tmp_path) == ["three/d.txt"]
    assert judged(items(tmp_path / "four"), tmp_path) == ["four/e.txt"]


NAMES = st.sampled_from(["a", "b", "ab", "a.txt", "b.txt"])
PATTERNS = st.sampled_from([
    *("a", "/a", "a/", "b/", "*", "*.txt", "a/*", "a/**", "**/b", "a/b", "/a/b/", "!a", "!a/", "!b.txt", "!/a/b", "!*"),
    *("# a", "a?", "[ab]", "[!a]", "**/a/**", "!a/b.txt", "\\!a", "a.txt ", "b/*.txt", "!*/", "!a/**"),
])  # fmt: skip


@settings(max_examples=60, deadline=None)
@example(files=["a/a"], rules={"": ["a", "!a/**"]})
@given(
    files=st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8),
    rules=st.dictionaries(st.sampled_from(["", "a/", "b/", "a/b/"]), st.lists(PATTERNS, max_size=5), max_size=3),
)
def test_what_git_ignores_is_what_a_walk_ignores(files: list[str], rules: dict[str, list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        git(root, "init", "-q")
        for name in files:
            try:
                grow(root, {f"{name}.txt": "x"})
            except OSError:  # a file of that name stands where a folder should
                continue
        for prefix, lines in rules.items():
            if (root / prefix).is_dir():
                grow(root, {f"{prefix}.gitignore": "\n".join(lines)})

        listed = git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")

        expected = sorted(name for name in listed if name.endswith(".txt"))
        assert judged(items(root), root) == expected


def test_what_vanishes_or_cannot_be_read_in_a_walk_is_a_failure(tmp_path: Path) -> None:
    grow(tmp_path, {"a.txt": "a", "b.txt": "b", "c/d.txt": "d", "e.txt": "e"})
    walking = read([str(tmp_path)], SourceOptions(), io.BytesIO())
    found = [next(walking)]
    (tmp_path / "b.txt").unlink()
    (tmp_path / "c/d.txt").unlink()
    (tmp_path / "c").rmdir()
    (tmp_path / "e.txt").unlink()
    (tmp_path / "e.txt").mkdir()
    found += walking

    assert [(item.code, item.origin.address) for item in found if isinstance(item, Failure)] == [
        ("vanished", f"{tmp_path}/b.txt"),
        ("vanished", f"{tmp_path}/c"),
        ("unreadable", f"{tmp_path}/e.txt"),
    ]


@pytest.fixture
def ordinary() -> Iterator[Path]:
    """A folder of a user who is not root, whom the rights of files bind."""
    uid = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        if uid == 0:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        yield Path(folder)
        os.seteuid(uid)


def test_what_may_not_be_read_is_a_failure_in_a_walk_and_an_error_where_it_is_named(ordinary: Path) -> None:
    grow(ordinary, {"a.txt": "a", "c/d.txt": "d", "e.txt": "e", "f/g.txt": "g", "f/.gitignore": "*", "f/.git": ""})
    os.mkfifo(ordinary / "pipe", 0)
    for name in ("a.txt", "c", "f/.gitignore"):
        (ordinary / name).chmod(0)

    found = items(ordinary)

    assert [(item.code, item.origin.address) for item in found if isinstance(item, Failure)] == [
        ("unreadable", f"{ordinary}/a.txt"),
        ("unreadable", f"{ordinary}/c"),
    ]
    assert judged(found, ordinary) == ["e.txt", "f/g.txt"]
    (ordinary / "f/.git").chmod(0)
    assert judged(items(ordinary / "f"), ordinary) == ["f/g.txt"]
    for name in ("a.txt", "c", "pipe"):
        with pytest.raises(InputError, match="may not be read by this user") as error:
            items(ordinary / name)
        assert error.value.hint == f"ls -ld {ordinary / name}"
    (ordinary / "c").chmod(0o700)


def test_names_that_are_not_text_are_read_and_shown(tmp_path: Path) -> None:
    grow(tmp_path, {"new\nline.txt": "a", "\x1b[31m.txt": "b", "\udcff.txt": "c"})

    found = items(tmp_path)

    assert len(judged(found, tmp_path)) == 3
    assert all(item.origin.address.isprintable() for item in found if isinstance(item, Record))


def test_folders_nested_deeper_than_python_calls_are_walked(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY)
    folder = top
    depth = sys.getrecursionlimit() + 50
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        folder = os.open("d", os.O_RDONLY, dir_fd=folder)
        if folder > 900:
            break
    with os.fdopen(os.open("a.txt", os.O_CREAT | os.O_WRONLY, dir_fd=folder), "w") as file:
        file.write("a")

    found = items(tmp_path)
    for descriptor in range(top, folder + 1):
        os.close(descriptor)

    assert len(found) == 1
