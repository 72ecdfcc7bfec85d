"""`antiphon audit`: verify and export the audit log, whether a server runs or not."""

import asyncio
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.keys import caller
from antiphon.cli.options import ConfigFile, ConfiguredDataDir, configured, group, master_key_source
from antiphon.core.audit import Action, export_line
from antiphon.core.errors import CallerError, NotFound
from antiphon.core.stores import Stores, Trail
from antiphon.storage.identity import server_id
from antiphon.stores import open_stores
from antiphon.trust.checkpoint import Checkpoint, Signer, open_signer, origin_of
from antiphon.trust.notary import read_last
from antiphon.trust.ocsf import event
from antiphon.trust.verifying import parse_all, verify

app = group("Verify and export the audit log, and show its checkpoints.")


class Format(StrEnum):
    JSONL = "jsonl"
    OCSF = "ocsf"


@app.command("verify")
def verify_log(
    since: Annotated[
        list[Path] | None,
        typer.Option(metavar="CHECKPOINT", help="A file with checkpoints that was kept outside; can be repeated."),
    ] = None,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Check that no record was changed, deleted, added, reordered or cut off. Someone who controls this machine can
    forge the result: to be sure, compare checkpoints that were kept elsewhere, on another machine, with
    `examples/verify_audit.py`.
    """
    directory, stores, signer = opened(config, data_dir)
    last = read_last(directory)
    outside = [each for path in since or () for each in _read(path)]
    found = asyncio.run(verify(stores.trail, [*([last] if last else []), *outside], signer.verifier))
    print(f"{found.size} records are whole.")
    if found.dropped:
        print(f"What the first {found.dropped} said was dropped at the end of its time.")
    newest = max((each.size for each in outside), default=0)
    if outside:
        print(f"{len(outside)} checkpoints from outside hold, the newest of {newest} records.")
    else:
        print("Without a checkpoint from outside, a log that was rewritten with the server's own key is not noticed.")


@app.command()
def export(
    format: Annotated[Format, typer.Option(help="Records as they were hashed, or events of OCSF.")] = Format.JSONL,
    start: Annotated[int, typer.Option(min=0, help="The number of the first record.")] = 0,
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Print the records, one per line. `examples/verify_audit.py` needs all of them, from the first on."""
    _, stores, signer = opened(config, data_dir)
    size = asyncio.run(_export(stores.trail, format, start, project, signer.verifier.name))
    record = caller().did(Action.AUDIT_EXPORT, project or "", signer.verifier.name, f"{format}, from {start} to {size}")
    stores.find_directory().note(record)


@app.command()
def checkpoint(
    key: Annotated[bool, typer.Option("--key", help="Print the log's public key instead.")] = False,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Print the newest signed checkpoint. Keep it where nobody who controls this machine can change it."""
    directory, _, signer = opened(config, data_dir)
    if key:
        print(signer.verifier)
        return
    last = read_last(directory)
    if last is None:
        raise NotFound("no checkpoint has been signed yet: a server signs one a minute")
    print(last.note(), end="")


async def _export(trail: Trail, format: Format, start: int, project: str | None, origin: str) -> int:
    """Print the records; return the number after the last one."""
    while page := await trail.logged(start, project=project):
        for each in page:
            if format is Format.JSONL:
                sys.stdout.buffer.write(export_line(each))
            elif (found := event(each, origin)) is not None:
                sys.stdout.buffer.write(f"{json.dumps(found)}\n".encode())
        start = page[-1].number + 1
    sys.stdout.buffer.flush()
    return start


def opened(config: Path | None, data_dir: str | None) -> tuple[Path, Stores, Signer]:
    """Return the data directory of the configured server, its stores and its signer. Raises `NotFound` if there is
    none.
    """
    settings = configured(config, data_dir)
    stores = open_stores(settings.directory, master_key_source(settings))
    stores.find_directory()
    origin = settings.audit.origin or origin_of(server_id(settings.directory))
    return settings.directory, stores, open_signer(settings.directory, origin)


def _read(path: Path) -> list[Checkpoint]:
    try:
        return parse_all(path.read_text("utf-8"))
    except ValueError as error:
        raise CallerError(f"{path} holds no checkpoints: {error}") from None
