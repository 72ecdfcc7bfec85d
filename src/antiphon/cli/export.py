"""`antiphon export`: what of the usage was exported to external receivers, and what was not; also without a server."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.keys import now_unix_ms
from antiphon.cli.options import ConfigFile, ConfiguredDataDir, group
from antiphon.core.errors import CallerError
from antiphon.metering.export.control import ExportControl

app = group("Show and settle what goes to billing systems outside.")
gaps_app = typer.Typer(help="Show what is not exported; settle it, or have it sent again.")
app.add_typer(gaps_app, name="gaps")

T = TypeVar("T")


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


Target = Annotated[str, typer.Argument(metavar="TARGET", help="The name of an [export] table.")]
Numbers = Annotated[list[int] | None, typer.Argument(metavar="NUMBER", help="As `gaps` lists them.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Shown = Annotated[Format, typer.Option(help="How to print it.")]


@app.command()
def status(format: Shown = Format.TABLE, config: ConfigFile = None, data_dir: ConfiguredDataDir = None) -> None:
    """Show up to which position each target is exported."""
    found = _ask(config, data_dir, lambda control: control.status())
    if format is Format.JSON:
        print(json.dumps(found, indent=2))
        return
    counts = ("position", "behind", "waiting", "taken", "refused", "unknown", "settled")
    table = Table("Target", *map(str.capitalize, counts), "Oldest that waits", box=rich.box.SIMPLE_HEAD)
    for each in found:
        oldest = each["oldest_waiting_unix_ms"]
        name = f"{each['target']}{'' if each['configured'] else ' (not configured)'}"
        table.add_row(name, *(f"{each[count]:,}" for count in counts), _time(oldest))
    Console(markup=False, emoji=False).print(table)


@app.command()
def replay(
    target: Target,
    position: Annotated[int, typer.Option("--from", min=0, help="The position in the ledger to begin at.")],
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Send the same batches again, byte for byte, if the receiver still knows them: nothing is counted twice."""
    batches, too_old = _ask(config, data_dir, lambda control: control.replay(target, position))
    print(f"{batches} batches are sent again.")
    if too_old:
        print(f"{too_old} are not: {target} may not recognise them any more, and would count them twice.")


@gaps_app.callback(invoke_without_command=True)
def gaps(
    context: typer.Context,
    of: Annotated[str | None, typer.Option("--target", help="Only of this target.")] = None,
    format: Shown = Format.TABLE,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Show what is not exported, until it is settled."""
    if context.invoked_subcommand is not None:
        return

    async def every(control: ExportControl) -> dict[str, list[dict[str, object]]]:
        names = [of] if of is not None else [str(each["target"]) for each in await control.status()]
        return {name: await control.gaps(name) for name in names}

    found = _ask(config, data_dir, every)
    if format is Format.JSON:
        print(json.dumps(found, indent=2))
        return
    columns = ("Target", "Number", "State", "Reason", "Project", "Meter", "Amount", "Time")
    table = Table(*columns, box=rich.box.SIMPLE_HEAD)
    for name, lines in found.items():
        for line in lines:
            amount = f"{line['quantity']:,}" if "quantity" in line else ""
            cells = (str(line.get(key, "")) for key in ("number", "state", "reason", "project", "meter"))
            table.add_row(name, *cells, amount, _time(line.get("at_unix_ms")))
    Console(markup=False, emoji=False).print(table)


@gaps_app.command()
def settle(
    target: Target,
    numbers: Numbers = None,
    every: All = False,
    note: Annotated[str, typer.Option(help="What was done about it.")] = "",
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Mark gaps as settled by hand: they are no longer shown."""
    wanted = _wanted(numbers, every)
    print(f"{_ask(config, data_dir, lambda control: control.settle(target, wanted, note))} gaps are settled.")


@gaps_app.command("send-again")
def send_again(
    target: Target,
    numbers: Numbers = None,
    every: All = False,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Send gaps again, after their cause is removed. Check an 'unknown' one with the receiver first: it may be counted
    there already.
    """
    wanted = _wanted(numbers, every)
    print(f"{_ask(config, data_dir, lambda control: control.send_again(target, wanted))} gaps are sent again.")


def _wanted(numbers: list[int] | None, every: bool) -> list[int] | None:
    if bool(numbers) == every:
        raise CallerError("name numbers, or say --all")
    return numbers or None


def _ask(config: Path | None, data_dir: str | None, ask: Callable[[ExportControl], Awaitable[T]]) -> T:
    from antiphon.config import load  # slow to import
    from antiphon.exporting import memory_ms
    from antiphon.stores import open_exports, open_stores

    settings = load(config, os.environ, {"data_dir": data_dir})

    async def run() -> T:
        exports = open_exports(settings.directory, make=False)
        try:
            ledger = open_stores(settings.directory).usage
            return await ask(ExportControl(exports, ledger, memory_ms(settings), now_unix_ms))
        finally:
            await exports.close()

    return asyncio.run(run())


def _time(unix_ms: object) -> str:
    if not isinstance(unix_ms, int):
        return ""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")[:19]
