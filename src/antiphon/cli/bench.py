"""`antiphon bench stt`: the objectives, measured at the client, against any Deepgram-compatible server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from antiphon.bench import client, clips, plot
from antiphon.bench.measure import Level, Percentiles
from antiphon.core.audio import samples_to_ms
from antiphon.core.errors import CallerError

MAX_STREAMS = 4096

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def bench() -> None:
    """Measure a server at the client."""


@app.command()
def stt(
    audio: Annotated[list[Path], typer.Option(help="A clip to play, in any format.")],
    more: Annotated[list[Path] | None, typer.Argument(help="More clips, so that `--audio *.wav` works.")] = None,
    url: Annotated[str, typer.Option(help="The server's origin.")] = "ws://127.0.0.1:8080",
    api_key: Annotated[str, typer.Option(envvar="ANTIPHON_API_KEY", help="The key to call with.")] = "",
    streams: Annotated[str, typer.Option(help="Numbers of streams, each measured in turn.")] = "1,8,32,64",
    seconds: Annotated[int, typer.Option(min=5, max=86_400, help="How long each number is held.")] = 60,
    references: Annotated[Path | None, typer.Option(help="Tab-separated `file` and `text`, for the WER.")] = None,
    chunk_ms: Annotated[int, typer.Option(min=10, max=1000, help="Audio in each message.")] = 100,
    endpointing: Annotated[int, typer.Option(min=10, max=500, help="Silence that ends an utterance, in ms.")] = 300,
    model: Annotated[str, typer.Option(help="The model to ask for.")] = "nova-3",
    pid: Annotated[int | None, typer.Option(help="The server's process, for its CPU and memory.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw latency against streams into this file.")] = None,
    against: Annotated[Path | None, typer.Option(help="Draw that earlier run's --json into --plot as well.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show where speech was found in each clip.")] = False,
) -> None:
    """Hold real-time streams open against a server, and measure TTFB, finals, goodput and WER."""
    counts = parse_counts(streams)
    known = clips.read_references(references) if references else {}
    earlier = read_report(against) if against else {}
    loaded = [clips.load(path, known) for path in (*audio, *(more or ()))]
    console = Console()
    if verbose:
        console.print(_clips_table(loaded))
    target = client.Target(url, api_key, model, chunk_ms, endpointing)
    levels: list[Level] = []
    for count in counts:
        with console.status(f"{count} streams for {seconds} s"):
            levels.append(uvloop.run(client.run_level(target, loaded, count, seconds=seconds, pid=pid)))
    console.print(table(levels))
    if json:
        json.write_bytes(report(target, loaded, seconds, levels))
    if picture:
        plot.draw({url: levels} | earlier, picture)


def parse_counts(text: str) -> list[int]:
    """`"1,8,32"` to numbers. Raises `CallerError`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= MAX_STREAMS for part in parts):
        raise CallerError(f"--streams needs numbers from 1 to {MAX_STREAMS} with commas between, not {text!r}")
    return [int(part) for part in parts]


def report(target: client.Target, loaded: Sequence[clips.Clip], seconds: int, levels: Sequence[Level]) -> bytes:
    """The run as JSON, without the key."""
    values = {
        "url": target.url,
        "model": target.model,
        "chunk_ms": target.chunk_ms,
        "endpointing_ms": target.endpointing_ms,
        "seconds": seconds,
        "clips": [clip.name for clip in loaded],
        "levels": levels,
    }
    return msgspec.json.format(msgspec.json.encode(values)) + b"\n"


class _Report(msgspec.Struct):
    url: str
    levels: list[Level]


def read_report(path: Path) -> dict[str, Sequence[Level]]:
    """The run that `--json` wrote, as it is drawn. Raises `CallerError`."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Report)
    except (OSError, msgspec.MsgspecError) as error:
        raise CallerError(f"{path}: not a run that --json wrote ({error})") from error
    return {found.url: found.levels}


def _clips_table(loaded: Sequence[clips.Clip]) -> Table:
    shown = Table("clip", "length ms", "speech ms", title="Where speech was found")
    for clip in loaded:
        spans = ", ".join(f"{samples_to_ms(span.start)}–{samples_to_ms(span.end)}" for span in clip.utterances)
        shown.add_row(clip.name, str(samples_to_ms(clip.samples)), spans)
    return shown


def table(levels: Sequence[Level]) -> Table:
    """The run for people; a column of the server's own use only where its process was given."""
    watched = any(level.server_cpu_percent is not None for level in levels)
    shown = Table(title="Latencies in ms as P50 / P95 / P99", caption="utterances lost count as missed")
    for heading in ("streams", "refused", "failed", "utterances", "lost", "TTFB", "first word", "final"):
        shown.add_column(heading, justify="right")
    for heading in ("goodput", "WER", "lag", "client CPU", "late P99"):
        shown.add_column(heading, justify="right")
    for heading in ("server CPU", "RTF", "RSS MB", "MB/stream") if watched else ():
        shown.add_column(heading, justify="right")
    for level in levels:
        cells = [level.streams, level.refused, level.failed, level.utterances, level.lost]
        own = (level.server_cpu_percent, level.server_rtf, level.server_rss_mb, level.server_mb_per_stream)
        shown.add_row(
            *(str(cell) for cell in cells),
            *(_percentiles(value) for value in (level.ttfb, level.first_word, level.final)),
            _percent(level.goodput),
            _percent(level.wer),
            _plain(level.lag),
            f"{level.client_cpu_percent:.1f} %",
            _plain(level.late_ms_p99),
            *((_plain(value) for value in own) if watched else ()),
        )
    return shown


def _percentiles(value: Percentiles) -> str:
    return " / ".join("-" if part is None else f"{part:.0f}" for part in (value.p50, value.p95, value.p99))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
