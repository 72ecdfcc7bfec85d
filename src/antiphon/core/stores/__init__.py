"""The ports of storage, a file each.

`antiphon.stores` implements them; `antiphon.testing` has fakes with the same rules, and one test suite covers all.
"""

from collections.abc import Callable
from dataclasses import dataclass

from antiphon.core.sealing import PLAIN, Sealer
from antiphon.core.stores.answers import AnswerBounds, Answers
from antiphon.core.stores.bills import Bills, IssuedStatement
from antiphon.core.stores.directory import Directory, DirectoryView, Follower
from antiphon.core.stores.exports import MAX_GAPS, Exports
from antiphon.core.stores.jobs import LEASE_MS, RECORD_BYTES, JobBounds, Jobs, LeaseLost, StorageFull
from antiphon.core.stores.ledger import (
    FROM_THE_START,
    IDEMPOTENCY_RETENTION_MS,
    MAX_KEY_LENGTH,
    MAX_READ,
    MAX_RECORDS,
    MAX_TOTALS,
    RECORDED_WITHIN_S,
    STREAMED,
    Claim,
    Ledger,
    StoredEntry,
    Usage,
    answered,
    check_idempotency_key,
    standing,
)
from antiphon.core.stores.resources import MAX_RESOURCE_BYTES, MAX_RESOURCES, Resources
from antiphon.core.stores.trail import Trail

__all__ = [
    "FROM_THE_START",
    "IDEMPOTENCY_RETENTION_MS",
    "LEASE_MS",
    "MAX_GAPS",
    "MAX_KEY_LENGTH",
    "MAX_READ",
    "MAX_RECORDS",
    "MAX_RESOURCES",
    "MAX_RESOURCE_BYTES",
    "MAX_TOTALS",
    "RECORDED_WITHIN_S",
    "RECORD_BYTES",
    "STREAMED",
    "AnswerBounds",
    "Answers",
    "Bills",
    "Claim",
    "Directory",
    "DirectoryView",
    "Exports",
    "Follower",
    "IssuedStatement",
    "JobBounds",
    "Jobs",
    "LeaseLost",
    "Ledger",
    "Resources",
    "ServerStores",
    "StorageFull",
    "StoredEntry",
    "Stores",
    "Trail",
    "Usage",
    "answered",
    "check_idempotency_key",
    "standing",
]


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores for commands, whether a server runs or not. Reading usage needs no directory, and creates none.

    `open_directory` creates a missing directory; `find_directory`, for reading only, raises `NotFound`.
    """

    usage: Usage
    trail: Trail
    bills: Bills
    open_directory: Callable[[], Directory]
    find_directory: Callable[[], Directory]


@dataclass(frozen=True, slots=True)
class ServerStores:
    """The stores of a server and its management API. `jobs` are of projects that keep answers; `passing` is in memory,
    for the others. `resources` are of both; `sealer` has the keys of their content. Close order: `jobs` and `passing`,
    `answers`, then `ledger`.
    """

    directory: Directory
    bills: Bills
    ledger: Ledger
    trail: Trail
    answers: Answers
    jobs: Jobs
    passing: Jobs
    resources: Resources
    sealer: Sealer = PLAIN
