"""`antiphon serve`: pull what is missing, then become the server.

The server is an interpreter of its own in the same process, so that neither this command line nor progress bars stay in
its memory.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from antiphon.config import SPEECH_SAMPLES, Invalid, load
from antiphon.models import Store

app = typer.Typer()


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings; see docs/configuration.md.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [ANTIPHON_HOST, 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for any. [ANTIPHON_PORT, 8080]")] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Models, keys and usage. [ANTIPHON_DATA_DIR, ~/.local/share/antiphon]")
    ] = None,
    offline: Annotated[bool | None, typer.Option("--offline", help="Never fetch a model.")] = None,
) -> None:
    """Serve the API. The first start prints an API key, once; ANTIPHON_API_KEY sets it instead."""
    overrides = {"host": host, "port": port, "data_dir": data_dir, "offline": offline}
    settings = load(config, os.environ, overrides)
    try:
        settings.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Invalid(f"setting data_dir: {settings.data_dir}: {error.strerror}") from None
    if wanted := (*settings.catalogued, *([SPEECH_SAMPLES] if settings.speech else [])):
        from antiphon.cli.models import progress_bars

        with progress_bars() as report:
            Store(settings.directory / "models", settings.offline).pull(wanted, report)
    given = {"command": sys.argv[0], "config": config} | overrides
    arguments = (f"{name}={value}" for name, value in given.items() if value is not None)
    os.execv(sys.executable, (sys.executable, "-P", "-m", "antiphon.server", *arguments))
