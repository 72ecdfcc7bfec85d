"""`antiphon bench`: the objectives, measured at the client.

`stt` works against any server with a live protocol of `bench/protocols`, `chat` against any with OpenAI's chat
completions.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
import uvloop
from rich.console import Console, Group
from rich.table import Table

from antiphon.bench import chat as chats
from antiphon.bench import client, clips, plot, prompts
from antiphon.bench.generations import OBJECTIVES, ChatLevel, Objectives
from antiphon.bench.measure import Level, Percentiles
from antiphon.bench.protocols.line import Target
from antiphon.bench.protocols.table import PROTOCOLS
from antiphon.cli.options import DEFAULT_MODEL, DEFAULT_URL, group
from antiphon.core.audio import samples_to_ms
from antiphon.core.errors import CallerError

MAX_STREAMS = 4096
WIDTH = 80  # characters of a printed line, which fits terminals, mails and documents
BORDER = 3  # of a column

app = group("Measure a server at the client.")


@app.command()
def stt(
    audio: Annotated[list[Path], typer.Option(help="A clip to send, in any format.")],
    more: Annotated[list[Path] | None, typer.Argument(help="More clips, so that `--audio *.wav` works.")] = None,
    protocol: Annotated[str, typer.Option(help=f"What is spoken: {', '.join(PROTOCOLS)}.")] = "deepgram",
    url: Annotated[str | None, typer.Option(help="The server's origin, as http://HOST:PORT or grpc://...")] = None,
    api_key: Annotated[str, typer.Option(envvar="ANTIPHON_API_KEY", help="The key to call with.")] = "",
    streams: Annotated[str, typer.Option(help="Numbers of streams, measured one after the other.")] = "1,8,32,64",
    seconds: Annotated[int, typer.Option(min=5, max=86_400, help="How long each number is measured.")] = 60,
    references: Annotated[Path | None, typer.Option(help="Tab-separated `file` and `text`, for the WER.")] = None,
    chunk_ms: Annotated[int, typer.Option(min=10, max=1000, help="Audio in each message.")] = 100,
    endpointing: Annotated[int, typer.Option(min=10, max=500, help="Silence that ends an utterance, in ms.")] = 300,
    model: Annotated[str | None, typer.Option(help="The model to ask for, else the protocol's usual one.")] = None,
    pid: Annotated[int | None, typer.Option(help="The server's process, for its CPU and memory.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw latency against streams into this file.")] = None,
    against: Annotated[Path | None, typer.Option(help="Draw that earlier run's --json into --plot as well.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show where speech was found in each clip.")] = False,
) -> None:
    """Hold real-time streams open against a server, and measure TTFB, finals, goodput and WER."""
    counts = parse_counts(streams)
    if protocol not in PROTOCOLS:
        raise CallerError(f"--protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    usual = PROTOCOLS[protocol]
    target = Target(url or usual.url, api_key, model or usual.model, chunk_ms, endpointing, protocol)
    known = clips.read_references(references) if references else {}
    earlier = read_report(against) if against else {}
    loaded = [clips.load(path, known) for path in (*audio, *(more or ()))]
    console = Console()
    if verbose:
        console.print(_clips_table(loaded))
    levels: list[Level] = []
    for count in counts:
        with console.status(f"{count} streams for {seconds} s"):
            levels.append(uvloop.run(client.run_level(target, loaded, count, seconds=seconds, pid=pid)))
    console.print(table(levels))
    if json:
        json.write_bytes(report(target, loaded, seconds, levels))
    if picture:
        plot.draw({target.url: levels} | earlier, picture)


def parse_counts(text: str, option: str = "--streams") -> list[int]:
    """Return the numbers of a text like `"1,8,32"`. Raises `CallerError`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,9}", part) and 1 <= int(part) <= MAX_STREAMS for part in parts):
        raise CallerError(f"{option} needs numbers from 1 to {MAX_STREAMS} with commas between, not {text!r}")
    return [int(part) for part in parts]


def report(target: Target, loaded: Sequence[clips.Clip], seconds: int, levels: Sequence[Level]) -> bytes:
    """Return the run as JSON, without the key."""
    values = {
        "url": target.url,
        "protocol": target.protocol,
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
    """Return the levels of a run that `--json` wrote, for a plot. Raises `CallerError`."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Report)
    except (OSError, msgspec.MsgspecError) as error:
        raise CallerError(f"{path}: not a file written by --json ({error})") from error
    return {f"{found.url}, {path.stem}": found.levels}  # most often the same server, before a change


def _clips_table(loaded: Sequence[clips.Clip]) -> Table:
    shown = Table("clip", "length ms", "speech ms", title="Where speech was found")
    for clip in loaded:
        spans = ", ".join(f"{samples_to_ms(span.start)}–{samples_to_ms(span.end)}" for span in clip.utterances)
        shown.add_row(clip.name, str(samples_to_ms(clip.samples)), spans)
    return shown


def table(levels: Sequence[Level]) -> Group:
    """Return tables of the run; the server's own use has rows only if its process was given."""
    rows: dict[str, Callable[[Level], str]] = {
        "refused / failed": lambda level: f"{level.refused} / {level.failed}",
        "utterances": lambda level: str(level.utterances),
        "lost": lambda level: str(level.lost),
        "TTFB": lambda level: _percentiles(level.ttfb),
        "first word": lambda level: _percentiles(level.first_word),
        "final": lambda level: _percentiles(level.final),
        "goodput": lambda level: _percent(level.goodput),
        "WER": lambda level: _percent(level.wer),
        "lag": lambda level: _plain(level.lag),
        "client CPU": lambda level: f"{level.client_cpu_percent:.1f} %",
        "sent late, P99": lambda level: _plain(level.late_ms_p99),
    }
    if any(level.server_cpu_percent is not None for level in levels):
        rows["server CPU"] = lambda level: f"{_plain(level.server_cpu_percent)} %"
        rows["server RTF"] = lambda level: _plain(level.server_rtf)
        rows["server RSS, MB"] = lambda level: _plain(level.server_rss_mb)
        rows["MB a stream"] = lambda level: _plain(level.server_mb_per_stream)
    return _side_by_side(levels, lambda level: _count(level.streams, "stream"), rows, "utterances lost count as missed")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


L = TypeVar("L")


def _side_by_side(
    levels: Sequence[L], heading: Callable[[L], str], rows: Mapping[str, Callable[[L], str]], caption: str
) -> Group:
    """Return a column for each level, in as many tables as `WIDTH` needs."""
    room = WIDTH - 1 - max(map(len, rows)) - BORDER
    groups: list[list[tuple[str, list[str]]]] = []
    left = 0
    for level in levels:
        name, cells = heading(level), [cell(level) for cell in rows.values()]
        needed = max(map(len, (name, *cells))) + BORDER
        if needed > left:
            groups.append([])
            left = room
        groups[-1].append((name, cells))
        left -= needed
    tables: list[Table] = []
    for columns in groups:
        shown = Table("", title=None if tables else "Latencies in ms as P50 / P95 / P99")
        for name, _ in columns:
            shown.add_column(name, justify="right", no_wrap=True)
        for row, label in enumerate(rows):
            shown.add_row(label, *(cells[row] for _, cells in columns))
        tables.append(shown)
    tables[-1].caption = caption
    return Group(*tables)


def _percentiles(value: Percentiles) -> str:
    return " / ".join("-" if part is None else f"{part:.0f}" for part in (value.p50, value.p95, value.p99))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


# -- chat --------------------------------------------------------------------------------------------------------------


@app.command()
def chat(
    url: Annotated[str, typer.Option(help="The server's origin, or a base that ends in /v1.")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(envvar="ANTIPHON_API_KEY", help="The key to call with.")] = "",
    model: Annotated[str, typer.Option(help="The model to ask for.")] = DEFAULT_MODEL,
    concurrency: Annotated[
        str, typer.Option(help="Numbers of concurrent requests, measured one after the other.")
    ] = "1,8,32",
    rate: Annotated[
        str, typer.Option(help="Requests per second, arriving at random, instead of a fixed number at once.")
    ] = "",
    requests: Annotated[int, typer.Option(min=1, max=1_000_000, help="Requests for each number.")] = 100,
    dataset: Annotated[
        Path | None, typer.Option(help="Prompts: JSON lines with `prompt` or `messages`, or ShareGPT's JSON.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum length of an answer, in tokens.")] = 64,
    stream: Annotated[bool, typer.Option(help="Ask for a stream, or for whole answers.")] = True,
    extra: Annotated[str, typer.Option(help='A JSON object for each body, like {"temperature": 0}.')] = "{}",
    ttft_ms: Annotated[int, typer.Option(min=1, help="Objective: time to the first token.")] = OBJECTIVES.ttft_ms,
    tpot_ms: Annotated[int, typer.Option(min=1, help="Objective: time for each further token.")] = OBJECTIVES.tpot_ms,
    total_ms: Annotated[int, typer.Option(min=1, help="Objective: time to the last token.")] = OBJECTIVES.total_ms,
    pid: Annotated[int | None, typer.Option(help="The server's process, for its CPU and memory.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw latencies and tokens/s into this file.")] = None,
) -> None:
    """Ask a language model by OpenAI's protocol, and measure TTFT, TPOT, tokens a second and goodput."""
    rates: list[float] = parse_rates(rate) if rate else []
    counts = parse_counts(concurrency, "--concurrency") if not rates else []
    conversations = prompts.read(dataset) if dataset else prompts.built_in()
    target = chats.Target(url, api_key, model, max_tokens, stream, parse_object(extra))
    objectives = Objectives(ttft_ms, tpot_ms, total_ms)
    console = Console()
    uvloop.run(chats.warm_up(target, conversations[0]))
    levels: list[ChatLevel] = []
    for count, arriving in [(count, None) for count in counts] + [(None, arriving) for arriving in rates]:
        with console.status(f"{requests} requests, {f'{count} at once' if count else f'{arriving:g} a second'}"):
            run = chats.run_level(
                target, conversations, requests, concurrency=count, rate=arriving, objectives=objectives, pid=pid
            )
            levels.append(uvloop.run(run))
    console.print(chat_table(levels, objectives))
    for reason, times in sorted((levels_failures(levels)).items()):
        console.print(f"failed {times} times: {reason}", markup=False, highlight=False)
    if json:
        json.write_bytes(chat_report(target, dataset, objectives, levels))
    if picture:
        plot.draw_chat({url: levels}, objectives, picture)


def parse_rates(text: str) -> list[float]:
    """Return the numbers of a text like `"0.5,20"`, all above zero. Raises `CallerError`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", part) and float(part) > 0 for part in parts):
        raise CallerError(f"--rate needs numbers above zero with commas between, not {text!r}")
    return [float(part) for part in parts]


def parse_object(text: str) -> dict[str, object]:
    """Return a JSON object. Raises `CallerError`."""
    try:
        return msgspec.json.decode(text.encode(), type=dict[str, object])
    except msgspec.MsgspecError as error:
        raise CallerError(f"--extra needs a JSON object: {error}") from error


def levels_failures(levels: Sequence[ChatLevel]) -> Counter[str]:
    """Return the number of failures of the run by kind."""
    return sum((Counter(level.failures or {}) for level in levels), Counter())


def chat_report(
    target: chats.Target, dataset: Path | None, objectives: Objectives, levels: Sequence[ChatLevel]
) -> bytes:
    """Return the run as JSON, without the key."""
    values = {
        "url": target.url,
        "model": target.model,
        "max_tokens": target.max_tokens,
        "stream": target.stream,
        "extra": target.extra,
        "dataset": dataset.name if dataset else "built in",
        "objectives": objectives,
        "levels": levels,
    }
    return msgspec.json.format(msgspec.json.encode(values)) + b"\n"


def chat_table(levels: Sequence[ChatLevel], objectives: Objectives) -> Group:
    """Return tables of the run, a column for each level; the server's own use has rows only if its process was
    given.
    """
    caption = f"good: TTFT ≤ {objectives.ttft_ms}, TPOT ≤ {objectives.tpot_ms}, total ≤ {objectives.total_ms} ms"
    if not all(level.reported for level in levels):
        caption += "; tokens of answers without usage are deltas"
    rows: dict[str, Callable[[ChatLevel], str]] = {
        "requests": lambda level: str(level.requests),
        "refused / failed": lambda level: f"{level.refused} / {level.failed}",
        "TTFT": lambda level: _fine(level.ttft),
        "TPOT": lambda level: _fine(level.tpot),
        "total": lambda level: _fine(level.total),
        "goodput": lambda level: _percent(level.goodput),
        "tokens/s": lambda level: f"{level.tokens_per_s:.1f}",
        "requests/s": lambda level: f"{level.requests_per_s:.1f}",
        "client CPU": lambda level: f"{level.client_cpu_percent:.0f} %",
        "sent late, P99": lambda level: _plain(level.late_ms_p99),
    }
    if any(level.server_cpu_percent is not None for level in levels):
        rows["server CPU"] = lambda level: f"{_plain(level.server_cpu_percent)} %"
        rows["server RSS, MB"] = lambda level: _plain(level.server_rss_mb)
    return _side_by_side(
        levels,
        lambda level: f"{level.rate:g} a second" if level.rate else f"{level.concurrency} at once",
        rows,
        caption,
    )


def _fine(value: Percentiles) -> str:
    return " / ".join(
        "-" if part is None else f"{part:.1f}" if part < 100 else f"{part:.0f}"
        for part in (value.p50, value.p95, value.p99)
    )
