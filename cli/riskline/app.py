"""The command line: flags in, one call, an exit code out. The only room that knows exit codes."""

from __future__ import annotations

import errno
import functools
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from riskline.commands import Ending, note
from riskline.commands import guards as guards_commands
from riskline.commands.check import check
from riskline.commands.config import defaults, find_config
from riskline.commands.doctor import doctor
from riskline.commands.evaluate import evaluate
from riskline.commands.explain import explain
from riskline.commands.schema import schema
from riskline.commands.score import score
from riskline.commands.trace import trace
from riskline.errors import OutputError, RisklineError

CLEAN, FLAGGED, FAILED, INCOMPLETE, INTERRUPTED, CLOSED_PIPE = 0, 1, 2, 3, 130, 141

app = typer.Typer(
    name="riskline",
    invoke_without_command=True,  # a bare `riskline` is told its help by us
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # plain help is complete at any width, and twice as quick
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RISKLINE"},
)


def exit_code(ending: Ending) -> int:
    """Return the exit code of an ending: 2, then 1, then 3."""
    if ending.failed:
        return FAILED
    if ending.flagged:
        return FLAGGED
    return INCOMPLETE if ending.incomplete else CLEAN


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"riskline {version('riskline')}\n")
        raise typer.Exit


@app.callback()
def configure(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            is_eager=True,
            callback=_show_version,
            show_envvar=False,
            allow_from_autoenv=False,  # a variable RISKLINE_VERSION of somebody's must not turn a gate green
        ),
    ] = False,
) -> None:
    """Judge text with guard models: a label, categories, and where in the text the risk rose."""
    if context.invoked_subcommand is None:
        sys.stderr.write(context.get_help() + "\n")
        raise typer.Exit(FAILED)
    if found := find_config(_here()):
        path, tables = found
        commands: Any = getattr(context.command, "commands", {})
        known = {
            name: {param.name for param in command.params if param.param_type_name == "option"} - {"help"}
            for name, command in commands.items()
            if name in ("check", "score", "eval", "trace")
        }
        context.default_map = defaults(path, tables, known)
        if context.invoked_subcommand in known:
            note(f"riskline: configuration from {path}")


def _here() -> Path:
    """The working folder; one that was removed meanwhile has no configuration."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(os.sep)


def _ending_in_exit(command: Callable[..., Ending]) -> Callable[..., None]:
    @functools.wraps(command)
    def run(*args: Any, **flags: Any) -> None:  # noqa: ANN401 - whatever the command takes
        raise typer.Exit(exit_code(_run(functools.partial(command, *args, **flags))))

    return run


def _run(command: Callable[[], Ending]) -> Ending:
    """Run a command to its last byte: data that did not reach stdout is a failure, not a success."""
    try:
        ending = command()
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise typer.Exit(_silence_stdout()) from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise typer.Exit(_silence_stdout()) from error
        if error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG):
            _silence_stdout()
            raise OutputError(f"cannot write: {error.strerror}") from error
        raise
    return ending


def _silence_stdout() -> int:
    """Keep the interpreter from flushing into the closed pipe again, with a message, when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLOSED_PIPE


for _command in (check, score, trace, doctor, schema):
    app.command()(_ending_in_exit(_command))
app.command("eval")(_ending_in_exit(evaluate))
app.command("explain")(_ending_in_exit(explain))

guards_app = typer.Typer(invoke_without_command=True, help="The catalog of guards and their bundles.")
app.add_typer(guards_app, name="guards")


@guards_app.callback()
def guards(context: typer.Context, json: guards_commands.AsJson = False) -> None:
    """List the guards found; or show, pull, export, verify or remove one."""
    if context.invoked_subcommand is None:
        raise typer.Exit(exit_code(_run(lambda: guards_commands.list_guards(json=json))))


guards_app.command("show")(_ending_in_exit(guards_commands.show))
guards_app.command("pull")(_ending_in_exit(guards_commands.pull))
guards_app.command("export")(_ending_in_exit(guards_commands.export))
guards_app.command("verify")(_ending_in_exit(guards_commands.verify))
guards_app.command("remove")(_ending_in_exit(guards_commands.remove))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; expected errors are told plainly, bugs keep their traceback."""
    _replace_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that cannot show a character shows its number
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = app(None if arguments is None else list(arguments), standalone_mode=False, prog_name="riskline")
        sys.stdout.flush()
    except BrokenPipeError:
        return _silence_stdout()
    except SystemExit as end:  # how the parser ends where its own help meets a closed pipe
        closed = isinstance(end.__context__, OSError) and end.__context__.errno == errno.EPIPE
        return _silence_stdout() if closed else int(end.code or 0)
    except RisklineError as error:
        return _tell(error.message, error.hint)
    except typer.TyperException as error:
        return _tell(_usage_message(error), _usage_hint(error))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return code if isinstance(code, int) else CLEAN


def _replace_closed() -> None:
    """Give a process that was started with closed streams ones that are empty and that nobody reads."""
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - for the whole process
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _tell(message: str, hint: str | None) -> int:
    note(f"error: {message}")
    if hint:
        note(f"hint: {hint}")
    return FAILED


def _usage_message(error: typer.TyperException) -> str:
    message = error.format_message().rstrip(".").replace("Value error, ", "")
    return message[:1].lower() + message[1:]


def _usage_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'riskline'} --help"
