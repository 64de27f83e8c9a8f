"""Progress on a terminal's stderr: how many records, how fast, how long still."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from riskline.records import Failure, Judged, Result


class _Rate(TextColumn):
    """Records a second since the start."""

    def __init__(self) -> None:
        super().__init__("{task.fields[rate]:>7,.0f}/s")


def watch(results: Iterator[Result], total: int | None) -> Iterator[Result]:
    """Yield `results` while a bar counts the records among them; the bar goes when they end."""
    columns = (
        TextColumn("judging"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("judging", total=total, rate=0.0)
        for result in results:
            yield result
            if isinstance(result, Judged | Failure):
                elapsed = progress.tasks[0].elapsed or 1e-9
                progress.update(task, advance=1, rate=(progress.tasks[0].completed + 1) / elapsed)
