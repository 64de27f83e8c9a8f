"""The command line as its users meet it: (argv, stdin) -> (exit code, stdout, stderr)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CALM = b'{"text":"ok"}\n'
BOMB = b'{"text":"a bomb now"}\n'


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], str]:
    monkeypatch.chdir(tmp_path)

    def to(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return name

    return to


Write = Callable[[str, bytes], str]


# --- exit codes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "flags", "code"),
    [
        (CALM, [], 0),
        (BOMB, [], 1),
        (b'{"text":"so rude now"}\n', [], 0),
        (b'{"text":"so rude now"}\n', ["--fail-on", "controversial"], 1),
        (b'{"text":"so rude now"}\n', ["--policy", "strict"], 1),
        (b'{"text":"so rude now"}\n', ["--policy", "loose", "--fail-on", "controversial"], 0),
        (BOMB, ["--fail-on", "never"], 0),
        (BOMB, ["--unsafe-threshold", "1", "--fail-on", "unsafe"], 0),
        (b"nope\n" + CALM, [], 3),
        (b"nope\n" + CALM, ["--allow-incomplete"], 0),
        (b"nope\n" + BOMB, [], 1),
        (b"nope\n" + BOMB, ["--allow-incomplete"], 1),
        (b"nope\n" + CALM, ["--strict-input"], 2),
        (b"", [], 2),
        (b"", ["--allow-empty"], 0),
        (b'{"text":""}\n', [], 0),
        (b'{"text":"a notanumber x"}\n', [], 3),
        (b'{"messages":[{"role":"user","content":[{"type":"text","text":"ok"},{"type":"image_url","image_url":{}}]}]}\n', [], 3),
    ],
)  # fmt: skip
def test_check_ends_in_the_documented_code(cli: Cli, write: Write, data: bytes, flags: list[str], code: int) -> None:
    answer = cli("check", write("data.jsonl", data), *flags)

    assert answer.code == code, answer.err


@pytest.mark.parametrize(
    ("data", "flags", "code"),
    [(BOMB, [], 0), (BOMB, ["--fail-on", "unsafe"], 1), (b"nope\n" + BOMB, [], 3), (b"nope\n" + BOMB, ["--fail-on", "unsafe"], 1)],
)  # fmt: skip
def test_score_ends_in_the_documented_code(cli: Cli, write: Write, data: bytes, flags: list[str], code: int) -> None:
    assert cli("score", write("data.jsonl", data), *flags).code == code


def test_a_variable_named_like_the_program_turns_no_gate_green(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RISKLINE_VERSION", "1")

    assert cli("check", write("data.jsonl", BOMB)).code == 1
    assert cli("--version").text.startswith("riskline ")


def test_a_turn_that_cannot_be_judged_hides_no_unsafe_one(cli: Cli, write: Write) -> None:
    messages = [{"role": "user", "content": "kill kill bomb"}, {"role": "assistant", "content": "ok notanumber"}]
    path = write("data.jsonl", json.dumps({"messages": messages}).encode())

    answer = cli("check", path, "--all-turns")

    assert answer.code == 1
    assert "not judged (unseen)" in answer.text


def test_a_threshold_flag_leaves_the_other_label_of_a_role_alone(cli: Cli, write: Write) -> None:
    write("p.toml", b"[roles.prompt]\nunsafe = 0.01\n")
    path = write("data.jsonl", CALM)

    assert cli("check", path, "--policy", "p.toml").code == 1
    assert cli("check", path, "--policy", "p.toml", "--controversial-threshold", "0.9").code == 1


def test_a_long_text_is_no_file_name(cli: Cli) -> None:
    assert cli("trace", "ab " * 3000 + ":5", "-q").code == 0


@pytest.mark.parametrize("text", ["!" * 300_000 + "x", "##" + "\u0301" * 300_000, "." * 300_000])
def test_no_text_makes_a_pattern_slow(cli: Cli, write: Write, text: str) -> None:
    """Each takes minutes where a pattern backtracks; the test would not end."""
    assert cli("check", write("long.txt", text.encode())).code == 0
    assert cli("score", "--trajectory", "segments", stdin=text.encode()).code == 0


# --- messages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["check"], "error: missing argument 'PATH…'\nhint: riskline check --help\n"),
        (["check", "missing.txt"], "missing.txt"),
        (["check", "--fail-on", "bad", "x"], "hint: riskline check --help\n"),
        (["chek", "x"], "Did you mean 'check'"),
        (["check", "--polcy", "x", "y"], "--policy"),
        (["guards", "show", "tinny"], "error: no guard is named `tinny`\nhint: did you mean `tiny`?\n"),
        (["schema", "verdct"], "verdict"),
        (["trace", "x", "--file", "y"], "error: both TEXT and --file are given; use just one of them\n"),
        (["score", "--redact", "x"], "hint: add --only-verdict\n"),
        (["check", "--redact-key", "k", "x"], "hint: add --redact\n"),
        (["check", "x.txt", "--format", "yaml"], "`yaml` is no format of check; expected text or json or jsonl"),
        (["check", "x.txt", "-o", "out.yaml"], "the extension names no format of check"),
        (["check", "x.txt", "-o", "json:-"], "error: --output takes a file"),
        (["score", "x.txt", "--key", "failure"], "error: --key failure is a key that score itself writes"),
        (["check", "x.txt", "-o", "a.json", "-o", "./a.json"], "two outputs are the same file"),
        (["check", "x.txt", "-o", "none/out.json"], "error: cannot write `none/out.json`: No such file or directory\n"),
        (["check", "x.txt", "--provider", "cuda"], "provider"),
        (["check", "x.txt", "--provider", "gpu"], "error: no provider is named `gpu`\nhint: one of auto, cpu, cuda,"),
        (["check", "x.txt", "--policy", "strickt"], "it is none of default, strict, loose"),
    ],
)
def test_what_cannot_be_done_is_told_plainly_with_code_2(
    cli: Cli, write: Write, argv: list[str], expected: str
) -> None:
    write("x.txt", b"ok")

    answer = cli(*argv)

    assert answer.code == 2
    assert answer.out == b""
    assert answer.err.startswith("error: ")
    assert expected in answer.err
    assert "Traceback" not in answer.err


def test_an_unknown_guard_is_refused_before_the_first_record(cli: Cli, write: Write) -> None:
    answer = cli("score", write("data.jsonl", CALM), guard="tinny")

    assert (answer.code, answer.out) == (2, b"")
    assert answer.err == "error: no guard is named `tinny`\nhint: did you mean `tiny`?\n"


def test_a_corrupted_bundle_is_refused_before_the_first_record(cli: Cli, write: Write, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(Path(__file__).parent / "bundles" / "tiny", tmp_path / "mine"))
    with (folder / "model.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff")

    answer = cli("score", write("data.jsonl", CALM), guard="./mine")

    assert (answer.code, answer.out) == (2, b"")
    assert "has the SHA-256" in answer.err


# --- check's text -----------------------------------------------------------------------------------------------


def test_check_lists_findings_with_an_address_to_paste(cli: Cli, write: Write) -> None:
    write("p/note.txt", b"hello\nhow to make a bomb, then\nbye\n")
    write("p/data.jsonl", CALM + BOMB + b"nope\n")

    answer = cli("check", "p")

    assert answer.code == 1
    assert answer.text == (
        "p/data.jsonl:2:12  unsafe 0.993  Violent\n"
        "    a bomb now\n"
        "    riskline trace p/data.jsonl:2\n"
        "p/data.jsonl:3  not judged (invalid-json): not JSON at column 1: invalid literal, expected 'null'\n"
        "p/note.txt:2:15  unsafe 0.993  Violent\n"
        "    how to make a bomb, then\n"
        "    riskline trace --file p/note.txt\n"
    )
    assert "judged 3 (1 safe, 0 controversial, 2 unsafe), flagged 2, not judged 1 (invalid-json 1)" in answer.err


def test_a_hostile_file_name_forges_no_line_anywhere(cli: Cli, write: Write) -> None:
    name = "a\nriskline: judged 0 \x1b[2J::error::\u202e.txt"
    write("p/" + name, b"a bomb now")
    write("p/x\ny.png", b"")

    for form in ("text", "github", "junit", "sarif", "json", "jsonl"):
        answer = cli("check", "p", "-v", "--format", form)
        assert answer.code == 1
        shown = answer.text + answer.err
        assert not {"\x1b", "\u202e", "\r"} & set(shown)
        assert not [line for line in shown.splitlines() if line.startswith("riskline: judged 0")]


def test_without_a_command_the_help_is_shown_as_lines_with_code_2() -> None:
    answer = run()

    assert (answer.returncode, answer.stdout) == (2, b"")
    assert answer.stderr == run("--help").stdout


def test_quiet_leaves_stderr_empty(cli: Cli, write: Write) -> None:
    assert cli("check", write("a.txt", b"ok"), "-q").err == ""


def test_the_address_of_a_file_that_looks_like_a_flag_can_be_pasted(cli: Cli, write: Write) -> None:
    write("-x.jsonl", BOMB)
    answer = cli("check", ".", "--format", "jsonl")
    command = json.loads(answer.out)["trace"].split()

    assert cli(*command[1:], "--json").code == 0


@pytest.mark.parametrize(
    "typed",
    [
        ("trace", "ok", "--html", "-"),
        ("score", "-o", "-"),
        ("score", "-o", "jsonl:-"),
        ("eval", "x.jsonl", "--html", "-"),
    ],
)
def test_an_output_file_cannot_be_stdout(cli: Cli, tmp_path: Path, typed: tuple[str, ...]) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"text":"ok","label":"safe"}\n')

    answer = cli(*typed, stdin=CALM)

    assert answer.code == 2
    assert "take a file" in answer.err.replace("takes", "take")
    assert not Path("-").exists()


@pytest.mark.parametrize(
    ("typed", "found", "hint"),
    [
        ("nowhere/data.jsonl:3", "is the address of a record, but no such file is here", "goes in by stdin"),
        ("essay.txt", "essay.txt is a file", "--file essay.txt"),
        ("./essays", "./essays is a folder", "riskline check FOLDER"),
    ],
)
def test_what_reads_as_a_file_is_never_traced_as_words(
    cli: Cli, write: Write, typed: str, found: str, hint: str
) -> None:
    write("essay.txt", b"a bomb now")
    Path("essays").mkdir()

    answer = cli("trace", typed)

    assert answer.code == 2
    assert found in answer.err
    assert hint in answer.err
    assert not answer.out
    assert cli("trace", stdin=typed.encode()).code == 0


def test_the_address_of_a_finding_can_be_traced(cli: Cli, write: Write) -> None:
    write("data.jsonl", CALM + BOMB)

    answer = cli("trace", "data.jsonl:2", "--json")

    assert json.loads(answer.out)["text"] == "a bomb now"
    assert json.loads(answer.out)["verdict"]["label"] == "unsafe"


def test_a_trace_tells_what_no_guard_sees_of_the_record(cli: Cli, write: Write) -> None:
    parts = [{"type": "text", "text": "ok"}, {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]
    write("data.jsonl", json.dumps({"messages": [{"role": "user", "content": parts}]}).encode())

    answer = cli("trace", "data.jsonl:1", "--html", "page.html")
    shown = cli("trace", "data.jsonl:1")

    assert (answer.code, shown.code) == (3, 3)
    assert "not judged: parts that no text guard sees: image" in shown.text
    assert "not judged: parts that no text guard sees: image" in answer.err
    assert "parts that no text guard sees: image" in Path("page.html").read_text(encoding="utf-8")


# --- score ------------------------------------------------------------------------------------------------------


def test_score_keeps_the_lines_own_bytes(cli: Cli, write: Write) -> None:
    lines = [
        b'{"n":1.00000000000000000001, "text" : "ok" , "z":[1e300]}',
        b'{"text":"\\u00e9\\ud83d\\ude00"}   ',
        b'  {"text":"ok","b":1,"a":2}',
    ]

    answer = cli("score", write("data.jsonl", b"\r\n".join(lines) + b"\r\n"))

    for line, out in zip(lines, answer.out.splitlines(), strict=True):
        assert out.startswith(line.rstrip()[:-1] + b',"verdict":{"schema":1,')


@pytest.mark.parametrize(
    ("line", "flags", "code", "message"),
    [
        (b'{"text":"ok","verdict":1}', [], 2, "the record at data.jsonl:1 already has the key `verdict`"),
        (b'{"text":"ok","\\u0076erdict":1}', [], 2, "already has the key `verdict`"),
        (b'{"text":"the \\"verdict\\" is in"}', [], 0, ""),
        (b'{"text":"ok","verdict":1}', ["--key", "mine"], 0, ""),
        (b'{"text":"ok","verdict":1}', ["--overwrite-key"], 0, ""),
    ],
)
def test_a_key_that_is_there_is_not_written_twice(
    cli: Cli, write: Write, line: bytes, flags: list[str], code: int, message: str
) -> None:
    answer = cli("score", write("data.jsonl", line + b"\n"), *flags)

    assert answer.code == code
    assert message in answer.err
    if code == 0:
        key = "mine" if "--key" in flags else "verdict"
        assert json.loads(answer.out)[key]["label"] == "safe"
        assert answer.out.count(f'"{key}":'.encode()) == 1


def test_only_verdict_leaves_the_record_out(cli: Cli) -> None:
    answer = cli("score", "--only-verdict", stdin=CALM)

    assert list(json.loads(answer.out)) == ["line", "verdict"]


def test_order_is_kept_over_ten_thousand_lines(cli: Cli) -> None:
    lines = b"".join(b'{"id":%d,"text":"%s"}\n' % (n, b"x " * (n % 13)) for n in range(10_000))

    answer = cli("score", stdin=lines)

    assert answer.code == 0
    assert [json.loads(line)["id"] for line in answer.lines] == list(range(10_000))


def test_one_line_of_ten_megabytes_is_judged_in_windows(cli: Cli) -> None:
    text = "no harm in this, " * 620_000 + " bomb it"

    answer = cli("score", "--only-verdict", "--max-record-bytes", "16000000", stdin=json.dumps({"text": text}).encode())

    verdict = json.loads(answer.out)["verdict"]
    assert verdict["label"] == "unsafe"
    assert verdict["windows"] > 100_000
    assert verdict["onset"]["span"][1] <= len(text)


@pytest.mark.parametrize("kind", ["none", "tokens", "segments"])
def test_label_and_risk_do_not_depend_on_what_is_written(cli: Cli, kind: str) -> None:
    line = b'{"text":"First. Then a bomb now. So rude and sad. \xf0\x9f\x98\x80"}'
    plain = json.loads(cli("score", stdin=line).out)["verdict"]

    verdict = json.loads(cli("score", "--trajectory", kind, stdin=line).out)["verdict"]

    assert (verdict["trajectory"] is None) == (kind == "none")
    verdict["trajectory"] = None
    assert verdict == plain


def test_run_info_names_what_judged(cli: Cli, tmp_path: Path) -> None:
    cli("score", "--run-info", str(tmp_path / "run.json"), stdin=CALM)

    facts = json.loads((tmp_path / "run.json").read_bytes())
    assert facts["provider"] == "cpu"
    assert facts["precision"] == "fp32"
    assert facts["guard"].startswith("tiny@")
    assert facts["policy"].startswith("default@")
    assert facts["counts"]["judged"] == 1
    assert set(facts["files"]) == {"model.onnx", "tokenizer.json", "golden.jsonl", "LICENSE"}


def test_several_outputs_come_from_one_judging(cli: Cli, write: Write, tmp_path: Path) -> None:
    outputs = ["out.json", "out.sarif", "junit:out.report", "jsonl:out2.json", "github:out.gh", "out.txt"]

    answer = cli("check", write("data.jsonl", BOMB), *[part for name in outputs for part in ("-o", name)])

    assert (answer.code, answer.out) == (1, b"")
    assert answer.err.count("riskline: judged") == 1
    for name in ("out.json", "out.sarif", "out.report", "out2.json", "out.gh", "out.txt"):
        assert b"Violent" in (tmp_path / name).read_bytes()


def test_an_output_is_replaced_only_when_all_went_well(cli: Cli, write: Write, tmp_path: Path) -> None:
    write("out.jsonl", b"before\n")

    answer = cli("score", write("data.jsonl", b"nope\n"), "--strict-input", "-o", "out.jsonl")

    assert answer.code == 2
    assert (tmp_path / "out.jsonl").read_bytes() == b"before\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "out.jsonl"]


# --- bad records ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code", "kept"),
    [
        (b"nope", "invalid-json", False),
        (b'{"text":"ok"', "invalid-json", False),
        (b'{"text":NaN}', "invalid-json", False),
        (b"[1]", "not-an-object", False),
        (b'{"other":1}', "missing-field", True),
        (b'{"messages":[]}', "missing-field", True),
        (b'{"text":5}', "wrong-type", True),
        (b'{"prompt":"a","response":{}}', "wrong-type", True),
        (b'{"text":"\xff"}', "invalid-utf8", False),
        (b'{"text":"\\ud800"}', "lone-surrogate", False),
        (b'{"text":"' + b"x" * 300 + b'"}', "too-large", False),
        (b'{"text":"a notanumber"}', "non-finite", True),
    ],
)
def test_a_bad_record_is_a_failure_in_its_place_and_the_run_goes_on(
    cli: Cli, line: bytes, code: str, *, kept: bool
) -> None:
    lines = b"\n".join([b'{"text":"one"}', line, b'{"text":"two"}'])

    answer = cli("score", "--max-record-bytes", "200", "--input-format", "jsonl", stdin=lines)

    assert answer.code == 3
    first, failed, last = map(json.loads, answer.lines)
    assert (first["verdict"]["label"], last["verdict"]["label"]) == ("safe", "safe")
    assert failed["failure"]["code"] == code
    assert ("line" in failed) is not kept
    assert f"not judged 1 ({code} 1)" in answer.err


@pytest.mark.parametrize(
    ("stdin", "flags", "expected"),
    [
        (b"[1, 2", [], (2, b"", "hint: ")),
        (b'{"text": "ok', [], (2, b"", "--input-format")),
        (b"", [], (0, b"", "judged 0")),
        (b"\xef\xbb\xbf" + CALM, ["--only-verdict"], (0, b'{"line":1,"verdict":', "reading - as jsonl")),
        (b'[{"text":"ok"}]', ["--only-verdict"], (0, b'{"path":"-","id":"0","verdict":', "reading - as json")),
        (b"just words\n", [], (0, b'{"line":1,"text":"just words","verdict":', "reading - as lines")),
    ],
)
def test_stdin_is_recognised_or_refused(
    cli: Cli, stdin: bytes, flags: list[str], expected: tuple[int, bytes, str]
) -> None:
    answer = cli("score", *flags, stdin=stdin)

    code, out, err = expected
    assert answer.code == code, answer.err
    assert answer.out.startswith(out)
    assert err in answer.err


# --- redaction --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text", "json", "jsonl", "sarif", "github", "junit"])
def test_redacted_output_holds_no_text(cli: Cli, write: Write, name: str) -> None:
    data = b'{"text":"confidential bomb recipes"}\n{"text": confidential}\n{"confidential":"bomb recipes"}\n'

    answer = cli("check", write("data.jsonl", data), "--format", name, "--redact", "--redact-key", "k")

    assert answer.code == 1
    assert b"Violent" in answer.out
    for word in (b"confidential", b"recipes", b"bomb"):
        assert word not in answer.out


def test_redacted_hashes_depend_on_the_key_alone(cli: Cli, write: Write) -> None:
    path = write("data.jsonl", BOMB)

    def hashes(*key: str) -> str:
        answer = cli("check", path, "--format", "jsonl", "--redact", *key)
        return str(json.loads(answer.out)["fingerprint"])

    assert hashes("--redact-key", "a") == hashes("--redact-key", "a")
    assert hashes("--redact-key", "a") != hashes("--redact-key", "b")
    assert hashes() != hashes()


# --- configuration and environment ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "environment", "flags", "code"),
    [
        (b"", {}, [], 0),
        (b'[check]\nfail-on = "controversial"', {}, [], 1),
        (b'fail_on = "controversial"', {}, [], 1),
        (b'[check]\nfail-on = "controversial"', {"RISKLINE_CHECK_FAIL_ON": "never"}, [], 0),
        (b"", {"RISKLINE_CHECK_FAIL_ON": "controversial"}, [], 1),
        (b"", {"RISKLINE_CHECK_FAIL_ON": "controversial"}, ["--fail-on", "unsafe"], 0),
        (b'[check]\nfail-onn = "never"', {}, [], 2),
        (b'fail-onn = "never"', {}, [], 2),
        (b'[check]\nguard = "./always-safe"', {}, [], 2),
        (b"[check", {}, [], 2),
    ],
)
def test_flags_over_environment_over_file(
    cli: Cli,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    config: bytes,
    environment: dict[str, str],
    flags: list[str],
    code: int,
) -> None:
    write("riskline.toml", config)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    answer = cli("check", write("data.jsonl", b'{"text":"so rude now"}'), *flags)

    assert answer.code == code, answer.err


def test_the_configuration_used_is_named(cli: Cli, write: Write) -> None:
    write("pyproject.toml", b'[tool.riskline]\nfail-on = "never"\n')

    assert "configuration from" in cli("check", write("data.jsonl", BOMB)).err


# --- a real process ---------------------------------------------------------------------------------------------


def run(*arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "riskline", *arguments],
        input=stdin,
        capture_output=True,
        env=os.environ | environment,
        check=False,
        timeout=120,
    )


def test_a_closed_pipe_ends_quietly_with_141() -> None:
    lines = CALM * 20_000
    process = subprocess.Popen(
        [sys.executable, "-m", "riskline", "score", "-g", "tiny", "-q"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    assert process.stderr
    import threading

    def feed() -> None:
        assert process.stdin
        try:
            process.stdin.write(lines)
            process.stdin.close()
        except BrokenPipeError:
            pass

    feeder = threading.Thread(target=feed)
    feeder.start()
    process.stdout.readline()
    process.stdout.close()
    code = process.wait(60)
    feeder.join()

    assert code == 141
    assert process.stderr.read() == b""


def test_ctrl_c_flushes_and_ends_with_130() -> None:
    import signal
    import time

    process = subprocess.Popen(
        [sys.executable, "-m", "riskline", "score", "-g", "tiny", "-q"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell that runs tests in the background has its children ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    process.stdin.write(CALM * 3)
    process.stdin.flush()
    first, *_ = (process.stdout.readline() for _ in range(3))  # every verdict is out before the input ends
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)

    assert json.loads(first)["verdict"]["label"] == "safe"
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert rest == b""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupt_keeps_what_was_judged_beside_the_output(tmp_path: Path, name: str, code: int) -> None:
    import signal
    import time

    (tmp_path / "out.jsonl").write_bytes(b"before\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "riskline", "score", "-g", "tiny", "-q", "-o", "out.jsonl"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(CALM * 500)
    process.stdin.flush()
    written, end = 0, time.monotonic() + 60
    while written < 20_000 and time.monotonic() < end:  # more than a stream's buffer, which holds six lines or more
        time.sleep(0.2)
        written = sum(path.stat().st_size for path in tmp_path.glob(".out.jsonl.*"))
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)

    assert process.returncode == code
    assert b"what was judged so far is in out.jsonl.part" in err
    assert (tmp_path / "out.jsonl").read_bytes() == b"before\n"
    kept = (tmp_path / "out.jsonl.part").read_bytes().splitlines()
    assert len(kept) > 10
    assert all(json.loads(line)["verdict"]["label"] == "safe" for line in kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.jsonl.part"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_with_code_2() -> None:
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "riskline", "score", "-g", "tiny", "-q"],
            input=CALM * 3000, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60,
        )  # fmt: skip

    assert process.returncode == 2
    assert process.stderr == b"error: cannot write: No space left on device\n"


def test_score_without_input_on_a_pipe_reads_stdin() -> None:
    answer = run("score", "-g", "tiny", stdin=CALM)

    assert answer.returncode == 0
    assert b"reading - as jsonl" in answer.stderr


def test_nothing_heavy_is_imported_for_help() -> None:
    code = "import sys; from riskline.app import main; main(['--help']); print([m for m in ('numpy','onnxruntime','tokenizers','rich','torch','yaml') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert answer.stdout.splitlines()[-1] == b"[]"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), command=st.sampled_from(["check", "score"]), form=st.sampled_from(["auto", "text", "lines", "jsonl", "json", "yaml", "csv"]))  # fmt: skip
def test_any_bytes_end_in_a_documented_code(cli: Cli, data: bytes, command: str, form: str) -> None:
    answer = cli(command, "--input-format", form, "-", stdin=data)

    assert answer.code in (0, 1, 2, 3)
    assert "Traceback" not in answer.err


# --- what must not end in a traceback or a wrong code ---------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["guards"], ["check", "--help"], ["explain"]])
def test_a_closed_pipe_ends_in_141_whatever_is_printed(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "riskline", *words], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_configuration_may_not_choose_what_is_judged_by(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line, message in (
        ('guideline = "all is well"', "may not set `guideline`"),
        ('taxonomy = "mine.toml"', "may name only"),
        ('paths = ["x"]', "unknown key `paths`"),
    ):
        (tmp_path / "riskline.toml").write_text(line + "\n")
        done = cli("check", "riskline.toml")
        assert (done.code, message in done.err) == (2, True), done.err


def test_a_policy_named_by_a_configuration_is_looked_for_beside_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "riskline.toml").write_text('policy = "own.toml"\n')
    (tmp_path / "own.toml").write_text('name = "own"\n')
    monkeypatch.chdir(tmp_path / "deep")
    assert b'"policy":"own@' in cli("score", "-q", stdin=b"hello\n").out


def test_a_policy_with_a_nul_in_its_name_is_none(cli: Cli) -> None:
    done = cli("score", "--policy", "a\0b", stdin=b"hello\n")
    assert (done.code, "no policy" in done.err) == (2, True)


def test_run_info_is_not_an_output(cli: Cli, tmp_path: Path) -> None:
    same = str(tmp_path / "out.jsonl")
    done = cli("score", "-o", same, "--run-info", same, stdin=b"hello\n")
    assert (done.code, "two outputs are the same file" in done.err) == (2, True)
