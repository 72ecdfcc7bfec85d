"""The tables of jobs, blobs and resources, and the conversion of their rows to values."""

from dataclasses import fields
from sqlite3 import Row
from typing import Any

from antiphon.core.identity import Scope
from antiphon.core.jobs import Blob, Job, JobState

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
)
BLOB = tuple(field.name for field in fields(Blob))
JOB = tuple(field.name for field in fields(Job))


def stored(value: Any) -> Any:
    return " ".join(sorted(value)) if isinstance(value, frozenset) else value


def to_job(row: Row) -> Job:
    values = {name: row[name] for name in JOB}
    scopes = frozenset(Scope(each) for each in row["scopes"].split())
    return Job(**{**values, "state": JobState(row["state"]), "scopes": scopes})


def to_blob(row: Row) -> Blob:
    return Blob(**{name: row[name] for name in BLOB})
