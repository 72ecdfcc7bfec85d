"""`antiphon keys`: make, list, rotate, limit and revoke API keys, also without a running server."""

import os
import re
import sys
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.options import ConfigFile, ConfiguredDataDir, configured, configured_stores, group, master_key_source
from antiphon.core.audit import Author, limits_of
from antiphon.core.errors import CallerError, NotFound
from antiphon.core.identity import (
    DEFAULT_PROJECT,
    ENVIRONMENT_KEY_ID,
    NO_LIMITS,
    ROLES,
    USUAL_SCOPES,
    AccessRole,
    Key,
    KeyLimits,
    Scope,
)
from antiphon.core.units import NS_PER_MS
from antiphon.trust.control import Control
from antiphon.trust.last_use import FILE_NAME as USES_NAME
from antiphon.trust.last_use import read_uses
from antiphon.trust.pairs import Pairs

app = group("Create, list, rotate, limit and revoke API keys.")

Networks = Annotated[
    list[str] | None,
    typer.Option("--network", help="A network that may use it, as 192.0.2.0/24; repeatable."),
]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="A pattern of models that it may use, as 'gpt-*'; repeatable.")
]
Surfaces = Annotated[
    list[str] | None, typer.Option("--surface", help="A vendor's API on which it may be used, as openai; repeatable.")
]

_LAST_S = int(datetime.max.replace(tzinfo=UTC).timestamp()) - 1
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


@app.command()
def create(
    project: Annotated[str, typer.Option(help="The project that is charged.")] = DEFAULT_PROJECT,
    name: Annotated[str, typer.Option(help="A name for the key, for the list.")] = "",
    scope: Annotated[list[Scope] | None, typer.Option(help="What the key may do; can be repeated.")] = None,
    role: Annotated[AccessRole | None, typer.Option(help="A usual set of scopes, beside those given.")] = None,
    expires: Annotated[str | None, typer.Option(help="Expires after: 90m, 12h, 30d or 4w. Never if left out.")] = None,
    network: Networks = None,
    model: Models = None,
    surface: Surfaces = None,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Make a key and print it. It is shown only once."""
    now = now_unix_ms()
    scopes = {*(scope or ()), *(ROLES[role] if role else ())} or USUAL_SCOPES
    ends = now + parse_duration_ms(expires) if expires else None
    limits = KeyLimits(tuple(network or ()), tuple(model or ()), tuple(surface or ()))
    made = open_control(config, data_dir).create_key(project, name, scopes, now, ends, limits)
    _print_new(*made)


@app.command("list")
def list_keys(
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Show every key, revoked ones too, without its secret."""
    table = Table("Id", "Project", "Name", "May", "Made", "Last used", "State", box=rich.box.SIMPLE_HEAD)
    now = now_unix_ms()
    uses = read_uses(configured(config, data_dir).directory / USES_NAME)
    for key in find_control(config, data_dir).list_keys(project):
        may = ", ".join(sorted(key.scopes))
        if key.limits != NO_LIMITS:
            may += f"; {limits_of(key.limits)}"
        used = shown_time(uses[key.id]) if key.id in uses else "-"
        table.add_row(key.id, key.project, key.name, may, shown_time(key.created_unix_ms), used, _state(key, now))
    Console(markup=False, emoji=False).print(table)


@app.command()
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as in the list.")],
    overlap: Annotated[
        str, typer.Option(help="For how long the old key is still valid: 90m, 24h, 7d; 'none' ends it now.")
    ] = "24h",
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Make a key like another one, print it, and let the other expire after the overlap."""
    overlap_ms = 0 if overlap == "none" else parse_duration_ms(overlap, "overlap")
    now = now_unix_ms()
    _print_new(*open_control(config, data_dir).rotate_key(key_id, overlap_ms, now))
    print(f"Key {key_id} is valid until {shown_time(now + overlap_ms)} at most.", file=sys.stderr)


@app.command()
def limit(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as in the list.")],
    network: Networks = None,
    model: Models = None,
    surface: Surfaces = None,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Set where a key may be used; what is left out is no limit any more. A running server applies it within a
    second.
    """
    limits = KeyLimits(tuple(network or ()), tuple(model or ()), tuple(surface or ()))
    key = open_control(config, data_dir).limit_key(key_id, lambda old: limits, now_unix_ms())
    print(f"Key {key.id} of project {key.project}: {limits_of(key.limits)}.")


@app.command()
def pair(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as in the list.")],
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Print an id and a secret that sign requests in place of a key, in the form that AWS's tools read. They are valid
    as long as the key.
    """
    from antiphon.stores import open_sealer

    if key_id not in (key.id for key in find_control(config, data_dir).list_keys() if key.id != ENVIRONMENT_KEY_ID):
        raise NotFound(f"there is no key '{key_id}'")
    settings = configured(config, data_dir)
    pairs = Pairs(settings.directory, open_sealer(settings.directory, master_key_source(settings)))
    shown, secret = pairs.make(key_id)
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


def _print_new(key: Key, secret: str) -> None:
    """Print a new key, alone, and what it may do beside it."""
    print(secret)
    until = f" until {shown_time(key.expires_unix_ms)}" if key.expires_unix_ms else ""
    may = ", ".join(sorted(key.scopes))
    print(f"Key {key.id} of project {key.project} may {may}{until}. Keep it: it is not shown again.", file=sys.stderr)


def open_control(config: Path | None, data_dir: str | None) -> Control:
    """Return the projects and keys of the configured server; create them if absent."""
    from antiphon.stores import open_stores

    settings = configured(config, data_dir)
    stores = open_stores(settings.directory, master_key_source(settings))
    return Control(stores.open_directory(), caller(), settings.profiles.found, _surfaces)


def _surfaces() -> Collection[str]:
    from antiphon import routes  # takes a moment, as it knows every vendor

    return routes.surfaces()


def find_control(config: Path | None, data_dir: str | None) -> Control:
    """Return them for reading. Raises `NotFound` if there are none."""
    return Control(configured_stores(config, data_dir).find_directory())


def caller() -> Author:
    """Return the author of a change from the command line, at the present time."""
    return Author(f"cli:{os.geteuid()}", now_unix_ms())


def now_unix_ms() -> int:
    return time.time_ns() // NS_PER_MS


def shown_time(unix_ms: int) -> str:
    """Return the time to the minute, in UTC; at most the last of the year 9999, after which `datetime` has none."""
    return datetime.fromtimestamp(min(unix_ms // 1000, _LAST_S), UTC).strftime("%Y-%m-%d %H:%MZ")


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
