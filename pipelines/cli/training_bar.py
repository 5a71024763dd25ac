"""A bar on the terminal while a training runs, read from what its worker tells."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.training import progress

SECONDS = 0.5
"""Between two looks."""


@contextmanager
def shown(quiet: bool) -> Iterator[Callable[[Path], None]]:
    """Gives the function that is to be called with the training's folder; the bar stands until the body ends. On stderr, or nowhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[told]}"))
    bar = Progress(*columns, console=Console(stderr=True), disable=quiet)
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def watch(folder: Path) -> None:
        threads.append(threading.Thread(target=_follow, args=(bar, folder, stop), daemon=True))
        threads[-1].start()

    with bar:
        try:
            yield watch
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def _follow(bar: Progress, folder: Path, stop: threading.Event) -> None:
    task = bar.add_task("training", total=None, told="")
    last = False
    while True:
        found = progress.read(folder)
        if found is not None:
            bar.update(task, completed=found.step, total=found.steps, told=found.figures())
        if last:
            return
        last = stop.wait(SECONDS)
