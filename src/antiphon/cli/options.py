"""Options that several commands share, so that they are spelt and explained in one way."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA_DIR = Path("~/.local/share/antiphon")
DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_MODEL = "smollm2-135m-instruct"  # the language model that a server has from the first start

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="ANTIPHON_DATA_DIR",
        help="Where models, keys and usage are kept.",
        file_okay=False,
    ),
]

Offline = Annotated[bool, typer.Option("--offline", help="Never fetch a model; fail if one is missing.")]


def models_dir(data_dir: Path) -> Path:
    """The model store's folder inside a data directory."""
    return data_dir.expanduser() / "models"
