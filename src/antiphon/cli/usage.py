"""`antiphon usage`: what was used, from the ledger, whether a server runs or not."""

import json
import sys
from enum import StrEnum
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.options import DEFAULT_DATA_DIR, DataDir
from antiphon.metering import usage as metering
from antiphon.metering.database import FILE_NAME

app = typer.Typer()


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.command()
def usage(
    by: Annotated[str, typer.Option(help=f"Groups, separated by commas: {', '.join(metering.By)}.")] = "day,project",
    since: Annotated[str | None, typer.Option(help="From this date or time (ISO 8601, UTC) on.")] = None,
    until: Annotated[str | None, typer.Option(help="To before this date or time.")] = None,
    project: Annotated[str | None, typer.Option(help="One project's only.")] = None,
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.TABLE,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show usage as the server measured it, unrounded, with the unit in its name."""
    groups = metering.parse_by(by)
    totals = metering.summary(
        data_dir.expanduser() / FILE_NAME,
        by=groups,
        since_unix_ms=metering.parse_time(since, "since") if since is not None else None,
        until_unix_ms=metering.parse_time(until, "until") if until is not None else None,
        project=project,
    )
    match format:
        case Format.JSON:
            print(json.dumps(metering.records(totals, groups), indent=2))
        case Format.CSV:
            sys.stdout.write(metering.to_csv(totals, groups))
        case Format.TABLE:
            Console(markup=False, emoji=False).print(_table(totals, groups))


def _table(totals: list[metering.Total], groups: tuple[metering.By, ...]) -> Table:
    table = Table(*(group.capitalize() for group in groups), "Measured", box=rich.box.SIMPLE_HEAD)
    for column in ("Amount", "Sessions", "Abandoned"):
        table.add_column(column, justify="right", no_wrap=True)
    for total in totals:
        table.add_row(*total.group, total.dimension, f"{total.amount:,}", f"{total.sessions:,}", f"{total.abandoned:,}")
    return table
