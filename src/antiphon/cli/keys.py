"""`antiphon keys`: make, list and revoke API keys, also without a running server."""

import os
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

from antiphon.cli.options import ConfigFile, ConfiguredDataDir, configured, configured_stores
from antiphon.core.audit import Author
from antiphon.core.errors import CallerError, NotFound
from antiphon.core.identity import DEFAULT_PROJECT, ENVIRONMENT_KEY_ID, USUAL_SCOPES, Key, Scope
from antiphon.core.units import NS_PER_MS
from antiphon.trust.control import Control
from antiphon.trust.pairs import Pairs

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


@app.command()
def create(
    project: Annotated[str, typer.Option(help="The project that is charged.")] = DEFAULT_PROJECT,
    name: Annotated[str, typer.Option(help="A name for the key, for the list.")] = "",
    scope: Annotated[list[Scope] | None, typer.Option(help="What the key may do; can be repeated.")] = None,
    expires: Annotated[str | None, typer.Option(help="Expires after: 90m, 12h, 30d or 4w. Never if left out.")] = None,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Make a key and print it. It is shown only once."""
    now = now_unix_ms()
    key, secret = open_control(config, data_dir).create_key(
        project, name, scope or USUAL_SCOPES, now, now + parse_duration_ms(expires) if expires else None
    )
    print(secret)
    until = f" until {shown_time(key.expires_unix_ms)}" if key.expires_unix_ms else ""
    may = ", ".join(sorted(key.scopes))
    print(f"Key {key.id} of project {key.project} may {may}{until}. Keep it: it is not shown again.", file=sys.stderr)


@app.command("list")
def list_keys(
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Show every key, revoked ones too, without its secret."""
    table = Table("Id", "Project", "Name", "May", "Made", "State", box=rich.box.SIMPLE_HEAD)
    now = now_unix_ms()
    for key in find_control(config, data_dir).list_keys(project):
        may = ", ".join(sorted(key.scopes))
        table.add_row(key.id, key.project, key.name, may, shown_time(key.created_unix_ms), _state(key, now))
    Console(markup=False, emoji=False).print(table)


@app.command()
def pair(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as in the list.")],
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Print an id and a secret that sign requests in place of a key, in the form that AWS's tools read. They are valid
    as long as the key.
    """
    if key_id not in (key.id for key in find_control(config, data_dir).list_keys() if key.id != ENVIRONMENT_KEY_ID):
        raise NotFound(f"there is no key '{key_id}'")
    shown, secret = Pairs(configured(config, data_dir).directory).make(key_id)
    print(f"AWS_ACCESS_KEY_ID={shown}\nAWS_SECRET_ACCESS_KEY={secret}")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as in the list.")],
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Revoke a key for ever. A running server applies it within a second, also to open streams."""
    key = open_control(config, data_dir).revoke_key(key_id, now_unix_ms())
    print(f"Key {key.id} of project {key.project} is revoked.")


def open_control(config: Path | None, data_dir: str | None) -> Control:
    """Return the projects and keys of the configured server; create them if absent."""
    from antiphon.stores import open_stores

    settings = configured(config, data_dir)
    return Control(open_stores(settings.directory).open_directory(), caller(), settings.profiles.found)


def find_control(config: Path | None, data_dir: str | None) -> Control:
    """Return them for reading. Raises `NotFound` if there are none."""
    return Control(configured_stores(config, data_dir).find_directory())


def caller() -> Author:
    """Return the author of a change from the command line, at the present time."""
    return Author(f"cli:{os.geteuid()}", now_unix_ms())


def now_unix_ms() -> int:
    return time.time_ns() // NS_PER_MS


def shown_time(unix_ms: int) -> str:
    """Return the time to the minute, in UTC."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%d %H:%MZ")


def parse_duration_ms(text: str, param: str = "expires") -> int:
    """Return the milliseconds of a number and a unit. Raises `CallerError`."""
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
