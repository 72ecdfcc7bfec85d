"""`antiphon usage`: the usage in the ledger, also without a running server."""

import asyncio
import json
import sys
from enum import StrEnum
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.options import ConfigFile, ConfiguredDataDir, configured_stores
from antiphon.core.usage import By, Total
from antiphon.metering import usage as metering
from antiphon.trust.control import Control

app = typer.Typer(add_completion=False)


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.command()
def usage(
    by: Annotated[str, typer.Option(help=f"Groups, separated by commas: {', '.join(By)}.")] = "day,project",
    since: Annotated[str | None, typer.Option(help="From this date or time on (ISO 8601, UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this date or time, exclusive.")] = None,
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    tag: Annotated[str | None, typer.Option(help="Of one project: only what carries this tag or `key=value`.")] = None,
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.TABLE,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Show usage as the server measured it, not rounded, with the unit in its name."""
    query = metering.parse_query(by, since, until, project)
    stores = configured_stores(config, data_dir)
    if tag is not None:
        query = metering.tagged(query, tag, Control(stores.find_directory()).labels)
    groups, totals = query.by, asyncio.run(stores.usage.totals(query))
    match format:
        case Format.JSON:
            print(json.dumps(metering.records(totals, groups), indent=2))
        case Format.CSV:
            sys.stdout.write(metering.to_csv(totals, groups))
        case Format.TABLE:
            Console(markup=False, emoji=False).print(_table(totals, groups))


def _table(totals: list[Total], groups: tuple[By, ...]) -> Table:
    table = Table(*(group.capitalize() for group in groups), "Measured", box=rich.box.SIMPLE_HEAD)
    for column in ("Amount", "Sessions", "Abandoned"):
        table.add_column(column, justify="right", no_wrap=True)
    for total in totals:
        table.add_row(*total.group, total.dimension, f"{total.amount:,}", f"{total.sessions:,}", f"{total.abandoned:,}")
    return table
