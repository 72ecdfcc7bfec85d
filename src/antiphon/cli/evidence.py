"""`antiphon evidence`: a folder for an auditor, made from the audit log, the keys and the configuration."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Iterable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import typer

from antiphon import __version__
from antiphon.cli.audit import opened
from antiphon.cli.keys import caller
from antiphon.cli.options import ConfigFile, ConfiguredDataDir, configured
from antiphon.config import Config, Remote, processing_of
from antiphon.core import merkle
from antiphon.core.audit import Action, LoggedRecord, export_line
from antiphon.core.errors import CallerError
from antiphon.core.place import Processing
from antiphon.core.stores import Trail
from antiphon.core.units import NS_PER_MS
from antiphon.storage.directory import PRIVATE_MODE
from antiphon.storage.identity import server_id
from antiphon.trust.checkpoint import Checkpoint, Verifier
from antiphon.trust.evidence.facts import ERASURES, Facts, Integrity, Processor, parse_period, read_log
from antiphon.trust.evidence.report import RECORD_FILES, write_report
from antiphon.trust.evidence.results import read_results
from antiphon.trust.notary import proof_of, read_last
from antiphon.trust.verifying import Tampered, verify

MAX_PROOFS = 1_000  # of deletions; the others are in the log, too, and `antiphon audit export` has them

app = typer.Typer(add_completion=False)


class Framework(StrEnum):
    SOC2 = "soc2"
    HIPAA = "hipaa"
    GDPR = "gdpr"
    AI_ACT = "ai-act"


@app.command()
def evidence(
    period: Annotated[str, typer.Option(help="A year, a quarter or a month: 2026, 2026-Q4, 2026-11.")],
    framework: Annotated[Framework, typer.Option(help="Whose controls are listed.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A new or empty folder.")],
    results: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Test results (JUnit XML, as pytest writes it); repeat it for several."),
    ] = None,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Write a folder that an auditor can read: controls and what the data show of them, the configuration in force,
    access reviews, changes, failed sign-ins, deletions, processors, test results, and the signed audit log. Exits with
    1 if a control is not met.
    """
    span, settings = parse_period(period), configured(config, data_dir)
    directory, stores, signer = opened(config, data_dir)
    tested = [read_results(each) for each in results or ()]
    _prepare(out)
    last = read_last(directory)
    with ExitStack() as stack:
        files: dict[str, IO[bytes]] = {
            name: stack.enter_context((out / file).open("wb")) for name, file in RECORD_FILES.items()
        }
        deletions: list[LoggedRecord] = []

        def write(name: str, logged: LoggedRecord) -> None:
            files[name].write(export_line(logged))
            if name == ERASURES and len(deletions) < MAX_PROOFS:
                deletions.append(logged)

        facts = Facts(
            period=span,
            made_unix_ms=time.time_ns() // NS_PER_MS,
            version=__version__,
            server=server_id(directory),
            origin=signer.verifier.name,
            view=stores.find_directory().view(),
            profiles=settings.profiles.found,
            processors=list(processors(settings)),
            configuration=shown(settings),
            log=asyncio.run(read_log(stores.trail, span, write)),
            integrity=asyncio.run(_verified(stores.trail, last, signer.verifier)),
        )
    (out / "audit-key.txt").write_text(f"{signer.verifier}\n", "utf-8")
    (out / "checkpoint.txt").write_text(last.note() if last else "", "utf-8")
    proved = [each for each in (facts.log.first, facts.log.last) if each is not None]
    proofs = asyncio.run(_proofs(stores.trail, last, [*proved, *deletions]))
    (out / "proof.json").write_text(json.dumps(proofs, indent=2) + "\n", "utf-8")
    met = write_report(out, framework, facts, tested)
    record = caller().did(Action.AUDIT_EXPORT, "", signer.verifier.name, f"evidence {framework}, {span.name}")
    stores.find_directory().note(record)
    print(f"{out}: {facts.log.records} records of {span.name}. Begin with README.md.")
    if not met:
        print("Controls that are not met are in controls.md.")
        raise typer.Exit(1)


def processors(config: Config) -> Iterable[Processor]:
    """Return everybody to whom the configuration sends anything."""
    for name, where in config.processing.items():
        gets = (
            "prompts, texts or tensors of calls"
            if isinstance(config.engines[name], Remote)
            else "calls, on this machine"
        )
        yield Processor(f"engines.{name}", gets, where, content=True)
    for name, table in config.export.items():
        yield Processor(f"export.{name}", "quantities, and names of projects and models", processing_of(table), False)
    unknown = Processing()
    outside = [("audit.webhook", config.audit.webhook)]
    outside += [("audit.bucket", config.audit.bucket.url)] if config.audit.bucket else []
    outside += [(f"audit.witnesses[{at}]", each.url) for at, each in enumerate(config.audit.witnesses)]
    for setting, url in outside:
        if url:
            yield Processor(setting, "checkpoints of the audit log: its size and hash", unknown, False)


def shown(config: Config) -> dict[str, Any]:
    """Return the configuration without secrets: no API key, no command, and of URLs neither credentials nor queries."""
    built: dict[str, Any] = msgspec.to_builtins(config)
    built["api_key"] = None if config.api_key is None else "(set)"
    built["tls"] = config.tls
    built["encryption"]["key_command"] = "(set)" if config.encryption.key_command else ""
    return {name: _without_secrets(value) for name, value in built.items()}


def _without_secrets(value: Any) -> Any:
    match value:
        case dict():
            return {name: _without_secrets(each) for name, each in value.items()}
        case list() | tuple():
            return [_without_secrets(each) for each in value]
        case str() if "://" in value:
            parts = urlsplit(value)
            return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return value


def _prepare(out: Path) -> None:
    """Create the folder, for the owner alone. Raises `CallerError` if there is something in it."""
    out.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise CallerError(f"{out} is not empty", param="out")
    out.chmod(PRIVATE_MODE)  # an empty one may be open to others, and gets the audit log


async def _verified(trail: Trail, last: Checkpoint | None, key: Verifier) -> Integrity:
    signed = last.size if last else 0
    try:
        found = await verify(trail, [last] if last else [], key)
    except Tampered as error:
        return Integrity(await trail.size(), signed, error.message)
    return Integrity(found.size, signed)


async def _proofs(trail: Trail, last: Checkpoint | None, records: Iterable[LoggedRecord]) -> dict[str, Any]:
    """Return the inclusion proofs of records that the checkpoint signs for, by their numbers."""
    if last is None:
        return {"size": 0, "records": {}}
    proofs = {}
    for each in records:
        if each.number < last.size:
            hashes = await proof_of(trail, merkle.inclusion(each.number, last.size))
            proofs[str(each.number)] = {
                "leaf": each.leaf.hex(),
                "proof": [b64encode(one).decode() for one in hashes],
            }
    return {"size": last.size, "root": b64encode(last.root).decode(), "records": proofs}
