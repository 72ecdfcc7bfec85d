"""`antiphon bench stt`: the objectives, measured at the client, against any Deepgram-compatible server."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from antiphon.bench import client, clips, plot
from antiphon.bench.measure import Level, Percentiles
from antiphon.core.audio import SAMPLE_RATE
from antiphon.core.errors import AntiphonError, CallerError

app = typer.Typer(no_args_is_help=True, help="Measure a server at the client.")

MAX_STREAMS = 4096


@app.callback()
def bench() -> None:
    """Measure a server at the client."""


@app.command()
def stt(
    audio: Annotated[list[Path], typer.Option(help="A clip to play, in any format; may be given several times.")],
    url: Annotated[str, typer.Option(help="The server's origin.")] = "ws://127.0.0.1:8080",
    api_key: Annotated[str, typer.Option(envvar="ANTIPHON_API_KEY", help="The key to call with.")] = "",
    streams: Annotated[str, typer.Option(help="Numbers of streams, each measured in turn.")] = "1,8,32,64",
    seconds: Annotated[int, typer.Option(min=5, max=86_400, help="How long each number is held.")] = 60,
    references: Annotated[Path | None, typer.Option(help="Tab-separated `file` and `text`, for the WER.")] = None,
    chunk_ms: Annotated[int, typer.Option(min=10, max=1000, help="Audio in each message.")] = 100,
    endpointing: Annotated[int, typer.Option(min=10, max=500, help="Silence that ends an utterance, ms.")] = 300,
    model: Annotated[str, typer.Option(help="The model to ask for.")] = "nova-3",
    pid: Annotated[int | None, typer.Option(help="The server's process, to measure its CPU and memory.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw latency against streams into this file.")] = None,
    verbose: Annotated[bool, typer.Option(help="Show where speech was found in each clip.")] = False,
) -> None:
    """Hold real-time streams open against a server, and measure TTFB, finals, goodput and WER."""
    console = Console()
    try:
        counts = parse_counts(streams)
        known = clips.read_references(references) if references else {}
        loaded = [clips.load(path, known) for path in audio]
        if verbose:
            console.print(_clips_table(loaded))
        target = client.Target(url, api_key, model, chunk_ms, endpointing)
        levels: list[Level] = []
        for count in counts:
            with console.status(f"{count} streams for {seconds} s"):
                levels.append(_run(client.run_level(target, loaded, count, seconds=seconds, pid=pid)))
        console.print(_table(levels))
        if json:
            json.write_bytes(_report(target, loaded, seconds, levels))
        if picture:
            plot.draw({url: levels}, picture)
    except AntiphonError as error:
        Console(stderr=True).print(f"error: {error.message}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error
