"""`antiphon master-key`: check and change the key that protects the keys of projects' content."""

import os
from pathlib import Path
from typing import Annotated

import typer
from msgspec import structs

from antiphon.cli.keys import caller
from antiphon.cli.options import ConfigFile, ConfiguredDataDir, configured, group
from antiphon.core.errors import NotFound
from antiphon.storage.master_key import MasterKeySource, find_source

app = group("Check and change the key that protects the keys and secrets of projects.")


@app.command()
def check(config: ConfigFile = None, data_dir: ConfiguredDataDir = None) -> None:
    """Check that the configured master key can be read, and is the one of the data directory."""
    from antiphon.stores import check_master_key

    directory, source = _configured(config, data_dir)
    check_master_key(directory, source)
    print(f"The master key from {source.name} is the one of {directory}.")


@app.command()
def change(
    file: Annotated[Path, typer.Argument(help="A file with the new key. If there is none, a key is made there.")],
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Encrypt the keys of all projects, and webhooks, by another master key. The server must not run, and needs the new
    one then.
    """
    from antiphon.stores import change_master_key, check_master_key

    directory, source = _configured(config, data_dir)
    check_master_key(directory, source)
    new = MasterKeySource(file.expanduser().absolute(), may_be_made=True)
    changed = change_master_key(directory, source, new.read() or new.make(), caller())
    print(f"The keys and webhooks of projects, {changed}, are encrypted by the master key in {new.file}.")
    print("Set it as the server's, by [encryption] or ANTIPHON_MASTER_KEY; the earlier one opens nothing any more.")


def _configured(config: Path | None, data_dir: str | None) -> tuple[Path, MasterKeySource]:
    settings = configured(config, data_dir)
    if not settings.directory.exists():
        raise NotFound(f"there is no data directory {settings.directory}")
    return settings.directory, find_source(settings.directory, os.environ, *structs.astuple(settings.encryption))
