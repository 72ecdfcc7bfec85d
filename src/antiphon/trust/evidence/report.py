"""The folder of evidence: plain files of Markdown and JSON. Pure, but for the writing itself."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from antiphon.core.identity import Key
from antiphon.trust.evidence.controls import FRAMEWORKS, Control, Status
from antiphon.trust.evidence.facts import CHANGES, ERASURES, EVENTS, READS, Facts, Processor, Refusals, Use
from antiphon.trust.evidence.results import ResultsFile, results_data, results_page
from antiphon.trust.residency import shown_retention

RECORD_FILES = {each: f"{each}.jsonl" for each in (CHANGES, ERASURES, READS, EVENTS)}
_CONTENTS = (
    ("controls.md, controls.json", "the controls of the framework: what the data show, and what remains"),
    ("access-review.md, access-review.json", "keys, what they may do, their use in the period, and remarks"),
    ("failed-sign-ins.json", "sign-ins that failed, by source and reason"),
    ("refusals.json", "refusals of known keys, by key and reason"),
    ("changes.jsonl", "records of changes of projects, policies and keys"),
    ("erasures.jsonl", "records of what was deleted or came to its end: the certificates of deletion"),
    ("reads.jsonl", "records of reads and exports of kept data"),
    ("events.jsonl", "starts and stops, failures, refusals by policy of place, and whatever else was recorded"),
    ("processors.md, processors.json", "who processes what, where, under which agreements"),
    ("policies.json", "what is in force for each project, and the hosts that its webhooks tell"),
    ("configuration.json", "the configuration in force when this was made, without secrets"),
    ("test-results.md, .json", "tests by control, of the files that were given"),
    ("checkpoint.txt, audit-key.txt, proof.json", "the signed audit log, and proofs that records are in it"),
)

_README = """# Evidence: {title}

Period {period}: from {since} to before {until}.{open}
Made at {made} by Antiphon {version}, on server {server}, with
`antiphon evidence --period {period} --framework {framework}`.

Controls: {counts}. A statement about this server is derived from the files here; what is marked as the operator's, the
server cannot know. This folder helps an auditor and is no certificate.

| file | what |
|---|---|
{contents}

## The audit log

The log is `{origin}`. {state} {records} records are of this period.

Each line of a `.jsonl` file is a record with its number and its leaf: the SHA-256 of a zero byte and the record's bytes
(RFC 6962). For the first and the last record and for each deletion, `proof.json` has the hashes that lead from the leaf
to the root in `checkpoint.txt`, which is signed with the key in `audit-key.txt`. Compare both with copies that were
kept outside the machine. `antiphon audit export` and `examples/verify_audit.py`, which imports nothing of Antiphon,
check the whole log.

## What this folder does not show

Approvals, agreements on paper, backups, people and premises: `controls.md` names them for each control.
"""


def write_report(folder: Path, framework: str, facts: Facts, results: Sequence[ResultsFile] = ()) -> bool:
    """Write all files but those of records and proofs; return whether no control is unmet. Raises `OSError`."""
    title, controls = FRAMEWORKS[framework]
    found = [(control, control.finding(facts)) for control in controls]
    files = {
        "README.md": _readme(title, framework, facts, [finding.status for _, finding in found]),
        "controls.md": "\n".join(_controls(title, facts, controls)) + "\n",
        "controls.json": _json([_control(control, facts) for control in controls]),
        "access-review.md": "\n".join(_access_review(facts)) + "\n",
        "access-review.json": _json([_key(key, facts) for key in facts.keys]),
        "failed-sign-ins.json": _json(_refusals("source", facts.log.sign_ins)),
        "refusals.json": _json(_refusals("key", facts.log.refusals)),
        "processors.md": "\n".join(_processors(facts)) + "\n",
        "processors.json": _json([_processor(each) for each in facts.processors]),
        "policies.json": _json({name: _policy(name, facts) for name in facts.view.projects}),
        "configuration.json": _json(facts.configuration),
        "test-results.md": "\n".join(results_page(framework, facts.version, results)) + "\n",
        "test-results.json": _json(results_data(results)),
    }
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return all(finding.status is not Status.LACKING for _, finding in found)


def shown_time(unix_ms: int | None) -> str:
    """Return a time in UTC to the second; `-` for none."""
    if not unix_ms:
        return "-"
    return datetime.fromtimestamp(unix_ms // 1000, UTC).isoformat().replace("+00:00", "Z")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def _readme(title: str, framework: str, facts: Facts, statuses: list[Status]) -> str:
    period, whole, log = facts.period, facts.integrity, facts.log
    state = f"Its {whole.records} records are whole."
    if whole.trouble:
        state = f"**It could not be verified: {whole.trouble}.**"
    if log.dropped:
        state += f" The contents of {log.dropped} older records were dropped at the end of their time."
    return _README.format(
        title=title,
        period=period.name,
        since=shown_time(period.since_ms),
        until=shown_time(period.until_ms),
        open=" The period is not over." if facts.made_unix_ms < period.until_ms else "",
        made=shown_time(facts.made_unix_ms),
        version=facts.version,
        server=facts.server,
        framework=framework,
        counts=", ".join(f"{statuses.count(status)} {status}" for status in Status),
        contents="\n".join(f"| {name} | {what} |" for name, what in _CONTENTS),
        origin=facts.origin,
        state=state,
        records=log.records,
    )


def _controls(title: str, facts: Facts, controls: Iterable[Control]) -> Iterator[str]:
    yield f"# Controls: {title}, {facts.period.name}"
    for control in controls:
        finding = control.finding(facts)
        yield from ("", f"## {control.reference}: {control.subject}", "")
        if control.does:
            yield f"- The server: {control.does}"
        yield f"- Status: **{finding.status}**. {finding.text}"
        if control.files:
            yield f"- See: {', '.join(control.files)}"
        if control.remains:
            yield f"- The operator's: {control.remains}"


def _control(control: Control, facts: Facts) -> dict[str, Any]:
    finding = control.finding(facts)
    return {
        "reference": control.reference,
        "subject": control.subject,
        "server": control.does,
        "status": finding.status.value,
        "finding": finding.text,
        "files": control.files,
        "operator": control.remains,
    }


def _access_review(facts: Facts) -> Iterator[str]:
    yield f"# Access review, {facts.period.name}"
    yield from ("", "Reviewed by: ____________________  on: ____________", "")
    yield "| key | project | name | may | created | ends | calls in the period | last | remarks |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for key in facts.keys:
        shown = _key(key, facts)
        name = key.name.replace("|", "\\|")
        yield (
            f"| {key.id} | {key.project} | {name} | {' '.join(shown['scopes'])} | {shown['created']} | "
            f"{shown['revoked'] or shown['expires'] or 'never'} | {shown['calls']} | {shown['last_used'] or '-'} | "
            f"{'; '.join(shown['remarks'])} |"
        )


def _key(key: Key, facts: Facts) -> dict[str, Any]:
    use = facts.log.uses.get(key.id, Use())
    return {
        "id": key.id,
        "project": key.project,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created": shown_time(key.created_unix_ms),
        "expires": key.expires_unix_ms and shown_time(key.expires_unix_ms),
        "revoked": key.revoked_unix_ms and shown_time(key.revoked_unix_ms),
        "calls": use.calls,
        "last_used": use.last_unix_ms and shown_time(use.last_unix_ms),
        "remarks": facts.remarks(key),
    }


def _refusals(by: str, found: Mapping[tuple[str, str], Refusals]) -> list[dict[str, Any]]:
    return [
        {
            by: source,
            "reason": reason,
            "times": each.times,
            "first": shown_time(each.first_unix_ms),
            "last": shown_time(each.last_unix_ms),
        }
        for (source, reason), each in sorted(found.items(), key=lambda item: -item[1].times)
    ]


def _processors(facts: Facts) -> Iterator[str]:
    yield f"# Processors, at {shown_time(facts.made_unix_ms)}"
    yield from ("", "As the configuration says; the server cannot check it. `-` is not said.", "")
    yield "| setting | processor | region | agreements | retention | gets |"
    yield "|---|---|---|---|---|---|"
    for each in facts.processors:
        shown = _processor(each)
        signed = ", ".join(f"{name} until {until}" if until else name for name, until in shown["agreements"].items())
        yield (
            f"| {each.setting} | {shown['processor'] or '-'} | {shown['region'] or '-'} | {signed or '-'} | "
            f"{shown['retention']} | {each.gets} |"
        )


def _processor(processor: Processor) -> dict[str, Any]:
    processing = processor.processing
    return {
        "setting": processor.setting,
        "processor": processing.processor,
        "region": processing.region,
        "agreements": {name.value: until and until.isoformat() for name, until in processing.agreements.items()},
        "retention": shown_retention(processing.retention_s),
        "gets": processor.gets,
        "content": processor.content,
    }


def _policy(project: str, facts: Facts) -> dict[str, Any]:
    profile = facts.profiles.projects.get(project)
    hosts = [urlsplit(each.url).hostname for each in facts.view.webhooks.values() if each.project == project]
    return {"profile": profile.name if profile else None, "policy": facts.policy(project).values(), "webhooks": hosts}
