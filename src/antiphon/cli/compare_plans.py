"""`antiphon compare-plans`: what the usage of a month would have cost by other price books."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.options import ConfigFile, ConfiguredDataDir, configured_stores
from antiphon.core.usage import By, UsageQuery
from antiphon.metering import plans
from antiphon.metering.bills import decimal
from antiphon.metering.pricing.library import example_books, load_books
from antiphon.metering.statements import Billing, parse_period

app = typer.Typer(add_completion=False)


@app.command()
def compare_plans(
    period: Annotated[str, typer.Option(help="The month, in UTC, such as 2026-11.")],
    project: Annotated[str | None, typer.Option(help="Only this project's usage.")] = None,
    book: Annotated[
        list[Path] | None, typer.Option("--book", help="Files of price books, beside the examples.")
    ] = None,
    examples: Annotated[bool, typer.Option(help="Whether the shipped examples are compared, too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Rate the usage of a month by several price books: vendors' public rules, and your own."""
    month = parse_period(period)
    books = {**(example_books() if examples else {}), **load_books(book or [])}
    stores = configured_stores(config, data_dir)
    if project is None:
        query = UsageQuery(by=(By.PROJECT,), since_unix_ms=month.since_unix_ms, until_unix_ms=month.until_unix_ms)
        projects = sorted({total.group[0] for total in asyncio.run(stores.usage.totals(query))})
    else:
        projects = [project]
    billing = Billing(stores.usage, stores.bills, books.__getitem__, drafts=True)
    compared = plans.compare(
        lambda name, by_entry: billing.sessions(name, month, by_entry), projects, [*books.values()]
    )
    if as_json:
        print(json.dumps(plans.records(compared, month), indent=2))
        return
    table = Table("Book", "Version", box=rich.box.SIMPLE_HEAD)
    table.add_column("Amount", justify="right", no_wrap=True)
    table.add_column("Without a price", overflow="fold")
    for plan in compared:
        missing = ", ".join(f"{amount:,} {dimension}" for dimension, amount in plan.missing.items())
        table.add_row(plan.book.name, plan.book.version, f"{decimal(plan.nano)} {plan.book.currency}", missing)
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(f"{', '.join(projects) or 'no project'}, {month.name}")
    console.print(table)
