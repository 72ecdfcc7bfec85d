"""What several commands share: options, with one spelling and one help text, and how a group of commands is made."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.core.stores import Stores
from antiphon.storage.master_key import MasterKeySource, find_source

if TYPE_CHECKING:
    from antiphon.config import Config

DEFAULT_DATA_DIR = Path("~/.local/share/antiphon")
DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_MODEL = "smollm2-135m-instruct"  # the language model of a new server

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="ANTIPHON_DATA_DIR",
        help="Where models, keys and usage are kept.",
    ),
]

# For commands that read the configuration, which may set it, too.
ConfiguredDataDir = Annotated[
    str | None, typer.Option("--data-dir", help="Models, keys and usage. [ANTIPHON_DATA_DIR, ~/.local/share/antiphon]")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="The TOML file with the server's settings.")]

Offline = Annotated[bool, typer.Option("--offline", help="Never fetch a model; fail if one is missing.")]


def group(help: str) -> typer.Typer:
    """Return a group of commands. Completion is not installed for a part of a command."""
    return typer.Typer(help=help, no_args_is_help=True, add_completion=False)


def models_dir(data_dir: Path) -> Path:
    """Return the model store's folder inside a data directory."""
    return data_dir.expanduser() / "models"


def configured(config: Path | None, data_dir: str | None) -> "Config":
    """Return the configuration. Raises `Invalid`."""
    from antiphon.config import load  # slow to import

    return load(config, os.environ, {"data_dir": data_dir})


def configured_stores(config: Path | None, data_dir: str | None) -> Stores:
    """Return the stores of the configured server. Raises `Invalid`."""
    from antiphon.stores import open_stores

    settings = configured(config, data_dir)
    return open_stores(settings.directory, master_key_source(settings))


def master_key_source(settings: "Config") -> MasterKeySource:
    """Return where the configured server has its master key from, which is read only if it is needed. Raises
    `CallerError` if several places are set.
    """
    encryption = settings.encryption
    return find_source(settings.directory, os.environ, encryption.key_file, tuple(encryption.key_command))
