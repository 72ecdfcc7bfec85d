"""`antiphon keys`: make, list and revoke API keys, whether a server runs or not."""

import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.options import DEFAULT_DATA_DIR, DataDir
from antiphon.core.errors import CallerError
from antiphon.core.identity import USUAL_SCOPES, Scope
from antiphon.core.units import NS_PER_MS
from antiphon.trust.control import DEFAULT_PROJECT, FILE_NAME, Control, Key

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


@app.command()
def create(
    project: Annotated[str, typer.Option(help="Whose usage it is.")] = DEFAULT_PROJECT,
    name: Annotated[str, typer.Option(help="What it is for, to find it again.")] = "",
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; may be repeated.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="After how long: 90m, 12h, 30d or 4w. Never, if left out.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a key and print it. It is shown this once."""
    now = now_unix_ms()
    key, secret = open_control(data_dir).create_key(
        project, name, scope or USUAL_SCOPES, now, now + parse_duration_ms(expires) if expires else None
    )
    print(secret)
    until = f" until {shown_time(key.expires_unix_ms)}" if key.expires_unix_ms else ""
    may = ", ".join(sorted(key.scopes))
    print(f"Key {key.id} of project {key.project} may {may}{until}. Keep it: it is not shown again.", file=sys.stderr)


@app.command("list")
def list_keys(
    project: Annotated[str | None, typer.Option(help="One project's only.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show every key there is or was, without its secret."""
    table = Table("Id", "Project", "Name", "May", "Made", "State", box=rich.box.SIMPLE_HEAD)
    now = now_unix_ms()
    for key in open_control(data_dir).list_keys(project):
        may = ", ".join(sorted(key.scopes))
        table.add_row(key.id, key.project, key.name, may, shown_time(key.created_unix_ms), _state(key, now))
    Console(markup=False, emoji=False).print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as in the list.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Revoke a key for good. A running server follows within a second, also for open streams."""
    key = open_control(data_dir).revoke_key(key_id, now_unix_ms())
    print(f"Key {key.id} of project {key.project} is revoked.")


def open_control(data_dir: Path) -> Control:
    """The projects and keys in a data directory, both made if they are not there."""
    folder = data_dir.expanduser()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Control(folder / FILE_NAME)


def now_unix_ms() -> int:
    return time.time_ns() // NS_PER_MS


def shown_time(unix_ms: int) -> str:
    """To the minute, UTC."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%d %H:%MZ")


def parse_duration_ms(text: str, param: str = "expires") -> int:
    """Milliseconds of a number and a unit. Raises `CallerError`."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", text)
    if match is None:
        raise CallerError(f"'{text}' is not a duration like 90m, 12h, 30d or 4w", param=param)
    return int(match[1]) * _UNITS_MS[match[2]]


def _state(key: Key, now: int) -> str:
    if key.revoked_unix_ms is not None:
        return f"revoked {shown_time(key.revoked_unix_ms)}"
    if key.expires_unix_ms is None:
        return "valid"
    return f"{'valid until' if key.holds(now) else 'expired'} {shown_time(key.expires_unix_ms)}"
