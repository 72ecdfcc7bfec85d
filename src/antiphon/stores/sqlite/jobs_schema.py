"""The tables of jobs, blobs and resources, and the conversion of their rows to values."""

import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from dataclasses import fields
from sqlite3 import Row
from typing import Any, TypeVar

from antiphon.core.errors import NotFound
from antiphon.core.identity import Scope
from antiphon.core.jobs import Blob, Job, JobState
from antiphon.core.sealing import Sealer, Unreadable
from antiphon.core.stores import RECORD_BYTES

R = TypeVar("R")

log = logging.getLogger(__name__)

_BLOB_BYTES = f"{{0}}.size_bytes + {RECORD_BYTES}"
_JOB_BYTES = f"length({{0}}.request) + {RECORD_BYTES}"


def _counting(table: str, size: str, of: str) -> tuple[str, ...]:
    """Return the triggers that count what the rows of a table take, which the columns `of` say."""
    new, old = size.format("new"), size.format("old")
    less = f"""
    UPDATE taken SET bytes = bytes - ({old}) WHERE project IN (old.project, '');
    DELETE FROM taken WHERE project = old.project AND bytes <= 0;"""
    more = f"""
    INSERT INTO taken VALUES (new.project, {new}), ('', {new})
    ON CONFLICT (project) DO UPDATE SET bytes = bytes + excluded.bytes;"""
    return (
        f"CREATE TRIGGER {table}_added AFTER INSERT ON {table} BEGIN{more}\nEND",
        f"CREATE TRIGGER {table}_changed AFTER UPDATE OF {of} ON {table} BEGIN{less}{more}\nEND",
        f"CREATE TRIGGER {table}_removed AFTER DELETE ON {table} BEGIN{less}\nEND",
    )


MIGRATIONS = (
    (
        """
CREATE TABLE blobs (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    ends_unix_ms INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    whole INTEGER NOT NULL,
    PRIMARY KEY (project, id)
) STRICT""",
        """
CREATE TABLE pieces (
    project TEXT NOT NULL,
    blob TEXT NOT NULL,
    start INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (project, blob, start),
    FOREIGN KEY (project, blob) REFERENCES blobs (project, id) ON DELETE CASCADE
) STRICT""",
        """
CREATE TABLE jobs (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    key_id TEXT NOT NULL,
    scopes TEXT NOT NULL,
    request BLOB NOT NULL,
    input TEXT NOT NULL,
    output TEXT NOT NULL,
    errors TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    deadline_unix_ms INTEGER NOT NULL,
    ends_unix_ms INTEGER NOT NULL,
    output_s INTEGER NOT NULL,
    state TEXT NOT NULL,
    begun_unix_ms INTEGER NOT NULL,
    cancel_unix_ms INTEGER NOT NULL,
    over_unix_ms INTEGER NOT NULL,
    total INTEGER NOT NULL,
    done INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    result BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    owner TEXT NOT NULL DEFAULT '',
    lease_unix_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (project, id)
) STRICT""",
        """
CREATE TABLE items (
    project TEXT NOT NULL,
    job TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (project, job, number),
    FOREIGN KEY (project, job) REFERENCES jobs (project, id) ON DELETE CASCADE
) STRICT""",
        "CREATE INDEX blobs_by_end ON blobs (ends_unix_ms)",
        "CREATE INDEX jobs_by_end ON jobs (ends_unix_ms)",
        "CREATE INDEX jobs_by_state ON jobs (state, created_unix_ms)",
    ),
    (
        """
CREATE TABLE resources (
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    deleted INTEGER NOT NULL,
    ends_unix_ms INTEGER NOT NULL, -- 0 is never
    PRIMARY KEY (project, kind, name)
) STRICT""",
    ),
    (
        # Before, it was stored as it came; `seal` and `seal_text` are functions of ours.
        "UPDATE blobs SET name = seal_text(project, 'blobs.name/' || id, name) WHERE name != ''",
        "UPDATE pieces SET body = seal(project, 'pieces.body/' || blob || '/' || start, body)",
        *(
            f"UPDATE jobs SET {name} = seal(project, 'jobs.{name}/' || id, {name}) WHERE {name} != x''"
            for name in ("request", "result")
        ),
        "UPDATE resources SET body = seal(project, 'resources.body/' || kind || '/' || name, body)",
        # The pseudonym of the person it is about, and the caller's tags.
        "ALTER TABLE blobs ADD COLUMN subject TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN subject TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN tags BLOB NOT NULL DEFAULT x''",
        "CREATE INDEX blobs_by_subject ON blobs (project, subject) WHERE subject != ''",
        "CREATE INDEX jobs_by_subject ON jobs (project, subject) WHERE subject != ''",
    ),
    (
        # What the files and jobs of a project take, and of all as ''. To add it up for each item of a job would cost
        # more with each row that is stored.
        "CREATE TABLE taken (project TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT",
        f"""
INSERT INTO taken SELECT project, sum(bytes) FROM (
    SELECT project, {_BLOB_BYTES.format("blobs")} AS bytes FROM blobs
    UNION ALL SELECT project, {_JOB_BYTES.format("jobs")} FROM jobs) GROUP BY project""",
        "INSERT INTO taken SELECT '', coalesce(sum(bytes), 0) FROM taken",
        *_counting("blobs", _BLOB_BYTES, "size_bytes"),
        *_counting("jobs", _JOB_BYTES, "request"),
        "CREATE INDEX blobs_by_age ON blobs (project, created_unix_ms, id)",
        "CREATE INDEX jobs_by_age ON jobs (project, created_unix_ms, id)",
    ),
)
BLOB = tuple(field.name for field in fields(Blob))
JOB = tuple(field.name for field in fields(Job))
SEALED = ("request", "result", "tags")  # of a job


class Rows:
    """The conversion of blobs and jobs to rows and back; the callers' content in them is sealed."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal_text(self, project: str, place: str, text: str) -> str:
        """Return a text, sealed as a text."""
        return b64encode(self._sealer.seal(project, place, text.encode("utf-8", "surrogatepass"))).decode()

    def seal_piece(self, project: str, blob: str, start: int, data: bytes) -> bytes:
        return self._sealer.seal(project, f"pieces.body/{blob}/{start}", data)

    def unseal_piece(self, project: str, blob: str, start: int, sealed: bytes) -> bytes:
        return self._sealer.unseal(project, f"pieces.body/{blob}/{start}", sealed)

    def column(self, job: Job, name: str, value: Any) -> Any:
        """Return a value of a job as its column has it."""
        if name == "tags":
            value = json.dumps(value).encode() if value else b""
        if name in SEALED:
            return self._sealer.seal(job.project, f"jobs.{name}/{job.id}", value) if value else b""
        return " ".join(sorted(value)) if isinstance(value, frozenset) else value

    def to_job(self, row: Row) -> Job:
        values = {name: row[name] for name in JOB}
        for name in SEALED:
            if values[name]:
                values[name] = self._sealer.unseal(row["project"], f"jobs.{name}/{row['id']}", values[name])
        scopes = frozenset(Scope(each) for each in row["scopes"].split())
        tags = tuple(json.loads(values["tags"])) if values["tags"] else ()
        return Job(**{**values, "state": JobState(row["state"]), "scopes": scopes, "tags": tags})

    def blob_column(self, project: str, blob: Blob, name: str) -> Any:
        value = getattr(blob, name)
        return self.seal_text(project, f"blobs.name/{blob.id}", value) if name == "name" and value else value

    def to_blob(self, row: Row) -> Blob:
        values = {name: row[name] for name in BLOB}
        if values["name"]:
            sealed = b64decode(values["name"])
            name = self._sealer.unseal(row["project"], f"blobs.name/{row['id']}", sealed)
            values["name"] = name.decode("utf-8", "surrogatepass")
        return Blob(**values)


def readable(rows: Iterable[Row], convert: Callable[[Row], R]) -> list[R]:
    """Convert rows, without those whose key was destroyed, and damaged ones."""
    found = []
    for row in rows:
        try:
            found.append(convert(row))
        except (NotFound, Unreadable) as error:
            log.error("a stored row cannot be read", extra={"key": row["id"], "reason": error.message})
    return found
