"""`antiphon stripe`: create or match the meters in Stripe."""

import asyncio
import os
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.options import ConfigFile, ConfiguredDataDir, group
from antiphon.core.errors import CallerError, Conflict

app = group("Prepare Stripe for usage.")


@app.callback()
def stripe() -> None:
    """Prepare Stripe for usage."""


@app.command()
def sync(
    target: Annotated[str | None, typer.Option(help="The name of an [export] table, if several go to Stripe.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would have to be made.")] = False,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Create the configured meters in Stripe, or match existing ones. Customers are never created."""
    from antiphon.config import StripeExport, load  # slow to import
    from antiphon.exporting import metering_of, receiver_of
    from antiphon.metering.export.sender import Sender
    from antiphon.metering.export.stripe import Stripe
    from antiphon.metering.export.stripe_meters import Outcome, Synced
    from antiphon.metering.export.stripe_meters import sync as synchronise

    settings = load(config, os.environ, {"data_dir": data_dir})
    tables = {name: table for name, table in settings.export.items() if isinstance(table, StripeExport)}
    if target is None and len(tables) != 1:
        raise CallerError(f"say --target: there is {', '.join(tables) or 'no [export] table of the kind stripe'}")
    name = target or next(iter(tables))
    if name not in tables:
        raise CallerError(f"[export.{name}] is not there, or not of the kind stripe", param="target")
    receiver, meters = receiver_of(name, tables[name], os.environ, str), metering_of(name, tables[name]).meters
    assert isinstance(receiver, Stripe)

    async def synced() -> list[Synced]:
        sender = Sender()
        try:
            return await synchronise(receiver, sender.post, meters, make=not dry_run)
        finally:
            await sender.close()

    found = asyncio.run(synced())
    table = Table("Meter", "Counts", "Stripe", "", box=rich.box.SIMPLE_HEAD)
    for each in found:
        table.add_row(each.meter.name, each.meter.dimension, each.outcome, each.why or each.id)
    Console(markup=False, emoji=False).print(table)
    different = [each.meter.name for each in found if each.outcome is Outcome.DIFFERENT]
    if different and not dry_run:
        raise Conflict(f"{', '.join(different)}: give these meters other names, as Stripe's cannot be changed")
