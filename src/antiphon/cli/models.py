"""`antiphon models`: list, pull and find models."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from antiphon.cli.options import DEFAULT_DATA_DIR, DataDir, Offline, group, models_dir
from antiphon.models import Progress as Report
from antiphon.models import Store

app = group("List, pull and find models.")


@app.command("list")
def list_models(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Show every model of the catalog, its licence, its size, and whether it is present."""
    table = Table(box=rich.box.SIMPLE_HEAD)
    for column in ("Model", "Kind", "Licence"):
        table.add_column(column, no_wrap=True)
    table.add_column("Size", justify="right", no_wrap=True)
    table.add_column("On this machine", no_wrap=True)
    for status in Store(models_dir(data_dir)).status():
        entry = status.entry
        table.add_row(entry.name, entry.kind, entry.licence, decimal(entry.size_bytes), status.state)
    Console().print(table)


@app.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Models to pull; all if none is named.")] = None,
    offline: Offline = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Fetch models and check every byte of them; complete ones are left alone."""
    store = Store(models_dir(data_dir), offline)
    with progress_bars() as report:
        store.pull(names or list(store.catalog), report)


@app.command()
def path(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print the folder that holds a model's files."""
    print(Store(models_dir(data_dir)).path(name))


@contextmanager
def progress_bars() -> Iterator[Report]:
    """Show progress bars on standard error for the reports of a `Store.pull`."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done_bytes: int, total_bytes: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name)
            bars.update(tasks[name], completed=done_bytes, total=total_bytes or None)

        yield report
