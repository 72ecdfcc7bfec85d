"""`antiphon statement`: what a project owes for a month, from the ledger and the price books."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.options import ConfigFile, ConfiguredDataDir, master_key_source
from antiphon.core.errors import CallerError
from antiphon.metering import bills
from antiphon.metering.pricing.library import load_books, make_library
from antiphon.metering.statements import Billing, Item, Statement, parse_period

app = typer.Typer(add_completion=False)

WIDTH = 80

Books = Annotated[
    list[Path] | None,
    typer.Option("--book", help="Rate by these files, instead of those of the configuration. Nothing is remembered."),
]


@app.command()
def statement(
    project: Annotated[str, typer.Option(help="Whose.")],
    period: Annotated[str, typer.Option(help="The month, in UTC, such as 2026-11.")],
    book: Books = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    detail: Annotated[
        bool, typer.Option("--detail", help="Every line of every session; with --json or --csv.")
    ] = False,
    margin: Annotated[bool, typer.Option("--margin", help="With what the engines cost, by the book of costs.")] = False,
    issue: Annotated[
        bool,
        typer.Option("--issue", help="Of a month that is over: it changes no more; what comes later is of the next."),
    ] = False,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Show what a project owes for a month. The lines add up to the total, to the nano-unit."""
    billing, month, now_unix_ms = (
        open_billing(book, config, data_dir),
        parse_period(period),
        time.time_ns() // 1_000_000,
    )
    if as_json and as_csv:
        raise CallerError("either --json or --csv")
    if margin and billing.costs is None:
        raise CallerError("there is no book of costs: see docs/billing.md")
    if detail:
        lines = billing.lines(project, month)
        if as_json:
            print(json.dumps(bills.lines_to_records(lines), indent=2))
        elif as_csv:
            sys.stdout.writelines(bills.lines_to_csv(lines))
        else:
            raise CallerError("--detail is written with --json or --csv")
        return
    made = billing.issue(project, month, now_unix_ms) if issue else None
    if made is None or margin:
        made = billing.statement(project, month, now_unix_ms, margin)
    if as_json:
        sys.stdout.write(bills.to_json(made))
    elif as_csv:
        sys.stdout.write(bills.to_csv(made))
    else:
        console = Console(markup=False, emoji=False, highlight=False)
        console.width = max(WIDTH, console.width)  # at least, also in a file
        _print(console, made)


def open_billing(books: list[Path] | None, config: Path | None, data_dir: str | None) -> Billing:
    """Return the billing by the named price books, or by the configuration's."""
    from antiphon.config import load  # slow to import
    from antiphon.stores import open_stores

    settings = load(config, os.environ, {"data_dir": data_dir})
    stores = open_stores(settings.directory, master_key_source(settings))
    if books:
        names = load_books(books)
        pricing = make_library(books, "", {}, "")
        if not pricing.default:
            raise CallerError(f"none of {', '.join(names)} is a book of prices")
    else:
        own = settings.pricing
        pricing = make_library(map(Path, own.books), own.default, own.projects, own.costs)
    return Billing(stores.usage, stores.bills, pricing.of, pricing.costs, drafts=bool(books))


def _print(console: Console, made: Statement) -> None:
    state = "issued" if made.issued else "not issued"
    console.print(f"{made.project}, {made.period.name}, {made.currency} ({state})")
    table = Table(box=rich.box.SIMPLE_HEAD, show_footer=True, padding=(0, 1, 0, 0))
    table.add_column("Price, model", "Total", overflow="fold")
    table.add_column("Sessions", justify="right", no_wrap=True)
    table.add_column("Billed", justify="right", overflow="fold")
    table.add_column("Amount", bills.decimal(made.total_nano), justify="right", no_wrap=True)
    if made.with_costs:
        table.add_column("Margin", bills.decimal(made.total_nano - made.costs_nano), justify="right", no_wrap=True)
    for item in made.items:
        named = "\n".join(filter(None, (_name(item), item.place.model, item.place.feature)))
        row = [named, f"{item.sessions:,}", _billed(item), bills.decimal(item.nano)]
        table.add_row(*row, *([bills.decimal(item.nano - (item.cost_nano or 0))] if made.with_costs else []))
    console.print(table)
    for book in made.books:
        console.print(f"book {book.name} {book.version}, SHA-256 {book.sha256[:16]}...")
    if made.unrated:
        console.print(f"{made.unrated} lines have no price and are not in the total: extend the price book.")
    if made.uncosted:
        console.print(f"{made.uncosted} lines have no cost: the margin is too high. Extend the book of costs.")
    if made.open:
        console.print(f"{made.open} sessions had not ended: they are of the month in which they end.")


def _name(item: Item) -> str:
    place = item.place
    named = place.price or place.kind.value
    return f"{named} ({place.reason})" if place.reason else named


def _billed(item: Item) -> str:
    """Return the quantity with its unit on the next line."""
    billed = item.billed if item.place.price else str(item.measured)
    whole = f"{int(billed):,}" if billed.lstrip("-").isdigit() else billed
    return f"{whole}\n{item.place.dimension}" if item.place.dimension else ""
