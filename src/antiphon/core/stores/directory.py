"""The port of the directory of projects and keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from antiphon.core.audit import THE_SERVER, AuditRecord, Author, ChangeRecord
from antiphon.core.identity import Key, KeyLimits, Organisation, Project, Webhook, WebhookSettings
from antiphon.core.policy import Policy
from antiphon.core.stores.ledger import MAX_READ


@dataclass(frozen=True, slots=True)
class DirectoryView:
    """The whole directory at one moment, by id. A key comes with the SHA-256 of its secret; a project has a random key
    that hashes its tags.
    """

    projects: Mapping[str, Project] = field(default_factory=dict)
    keys: Mapping[str, tuple[Key, bytes]] = field(default_factory=dict)
    tag_keys: Mapping[str, bytes] = field(default_factory=dict)
    webhooks: Mapping[str, Webhook] = field(default_factory=dict)
    organisations: Mapping[str, Organisation] = field(default_factory=dict)


class Follower(Protocol):
    """A non-blocking follower of the directory, for one thread."""

    def poll(self) -> DirectoryView | None:
        """Return the directory if it changed since the last poll. Raises `Busy` if it is unknown for the moment,
        `KeysUnavailable` if it cannot be read.
        """

    def close(self) -> None: ...


class Directory(Protocol):
    """Projects with their policies, and keys. Blocking; for any thread. Every method raises `KeysUnavailable` if they
    cannot be read or written. Whether a project or a key is valid is checked by `trust.control`, not here.

    Each change is recorded, as made `by` its author, in the same transaction; a call that changes nothing is not. The
    ledger drains these records.
    """

    def view(self) -> DirectoryView: ...

    def add_project(self, project: Project, by: Author = THE_SERVER) -> None:
        """Add a project, with a key that hashes its tags. Raises `Conflict` if its id is taken."""

    def set_policy(
        self,
        project: str,
        values: Mapping[str, str | int],
        by: Author = THE_SERVER,
        check: Callable[[Policy], object] | None = None,
    ) -> Project:
        """Set the named fields; the others stay as they are stored, known or not. Raises `NotFound`. `check` is given
        the new policy within the transaction; what it raises leaves all as it was.
        """

    def change_organisation(
        self, organisation: str, change: Callable[[Organisation], Organisation], by: Author = THE_SERVER
    ) -> Organisation:
        """Set the budgets and limits of an organisation to what `change` makes of the present ones, and return it. As
        every `change`, it is called within the transaction; what it raises leaves all as it was.
        """

    def add_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> None:
        """Add a key. Raises `NotFound` without its project, `Conflict` if its id is taken."""

    def add_first_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> bool:
        """Add a key unless there is or was one; return whether it was added. A key from the environment
        does not count.
        """

    def put_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> None:
        """Add a key, or make the one with its id valid again, with this secret and these scopes."""

    def rotate_key(self, key_id: str, ends_unix_ms: int, key: Key, digest: bytes, by: Author = THE_SERVER) -> Key:
        """Add `key`, with the limits that another one has now, in place of that, which expires at that time, unless it
        does so earlier; return it. Raises `NotFound` without the other, `Conflict` if that is revoked, or if the id is
        taken.
        """

    def limit_key(self, key_id: str, change: Callable[[KeyLimits], KeyLimits], by: Author = THE_SERVER) -> Key:
        """Change where a key may be used, and return it. Raises `NotFound`."""

    def revoke_key(self, key_id: str, now_unix_ms: int, by: Author = THE_SERVER) -> Key:
        """Revoke a key and return it. Revoking it again changes nothing. Raises `NotFound`."""

    def replace_tag_key(self, project: str, by: Author = THE_SERVER) -> None:
        """Destroy the key that hashes the project's tags, and create another. Raises `NotFound`."""

    def add_webhook(self, webhook: Webhook, by: Author = THE_SERVER) -> None:
        """Add a webhook. Raises `NotFound` without its project, `CallerError` if that has `MAX_WEBHOOKS`."""

    def change_webhook(
        self,
        webhook_id: str,
        name: str,
        change: Callable[[WebhookSettings], WebhookSettings],
        by: Author = THE_SERVER,
    ) -> Webhook:
        """Set a webhook's name, change its settings, and return it. Raises `NotFound`."""

    def delete_webhook(self, webhook_id: str, by: Author = THE_SERVER) -> Webhook:
        """Delete a webhook with its secret, and return it. Raises `NotFound`."""

    def retire_key(self, project: str, by: Author = THE_SERVER) -> None:
        """Have the project's content sealed by a new key from now on; the present one only opens what it sealed. Raises
        `NotFound`.
        """

    def destroy_keys(self, project: str, by: Author = THE_SERVER) -> None:
        """Destroy all keys that seal the project's content and hash its subjects and tags. Raises `NotFound`."""

    def note(self, record: AuditRecord) -> None:
        """Record an action that was done elsewhere, for the ledger to drain."""

    def changes(self, limit: int = MAX_READ) -> tuple[str, list[ChangeRecord]]:
        """Return the oldest records that were not reported as drained, and the name of their source."""

    def drained(self, position: int) -> None:
        """Report that the ledger has the records up to this position."""

    def follow(self) -> Follower: ...
