"""`antiphon serve`: pull missing models, then become the server.

The server replaces the interpreter in the same process, so that no memory of this command line and its progress bars
remains.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from antiphon import children
from antiphon.config import SPEECH_SAMPLES, load
from antiphon.models import CATALOG, ModelAbsent, ModelDamaged, Progress, PullFailed, Store
from antiphon.storage.directory import open_directory

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings; see docs/configuration.md.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [ANTIPHON_HOST, 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for any. [ANTIPHON_PORT, 8080]")] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Models, keys and usage. [ANTIPHON_DATA_DIR, ~/.local/share/antiphon]")
    ] = None,
    offline: Annotated[bool | None, typer.Option("--offline", help="Never fetch a model.")] = None,
    tls_cert: Annotated[
        str | None, typer.Option(help="Serve https with this certificate and its chain, PEM. [ANTIPHON_TLS_CERT]")
    ] = None,
    tls_key: Annotated[str | None, typer.Option(help="The certificate's key, PEM. [ANTIPHON_TLS_KEY]")] = None,
    tls_self_signed: Annotated[
        bool | None,
        typer.Option(
            "--tls-self-signed",
            help="Serve https with a certificate authority of the server's own. [ANTIPHON_TLS_SELF_SIGNED]",
        ),
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port for gRPC, 0 for any; without it there is none. [ANTIPHON_GRPC_PORT]")
    ] = None,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Start with a new ledger or new keys where the old ones are lost."),
    ] = False,
) -> None:
    """Serve the API. The first start prints an API key, once; ANTIPHON_API_KEY sets it instead."""
    overrides = {"host": host, "port": port, "data_dir": data_dir, "offline": offline}
    overrides |= {"tls_cert": tls_cert, "tls_key": tls_key, "tls_self_signed": tls_self_signed}
    overrides |= {"grpc_port": grpc_port}
    settings = load(config, os.environ, overrides)
    open_directory(settings.directory)
    if wanted := (*settings.catalogued, *([SPEECH_SAMPLES] if settings.recognisers else [])):
        from antiphon.cli.models import progress_bars

        store = Store(settings.directory / "models", settings.offline)
        with progress_bars() as report:
            store.pull(wanted, report)
            if settings.redaction.model in CATALOG:
                _pull_if_possible(store, settings.redaction.model, report)
    parameters = {"command": sys.argv[0], "config": config, "accept_loss": accept_loss or None} | overrides
    arguments = (f"{name}={value}" for name, value in parameters.items() if value is not None)
    os.execv(sys.executable, children.command("antiphon.server", *arguments))


def _pull_if_possible(store: Store, model: str, report: Progress) -> None:
    """Pull a model that the server starts without; calls that need it fail until it is there."""
    try:
        store.pull([model], report)
    except (ModelAbsent, ModelDamaged, PullFailed) as error:
        typer.echo(f"antiphon: names and places cannot be redacted: {error.message}", err=True)
