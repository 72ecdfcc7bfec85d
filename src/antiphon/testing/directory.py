"""A directory of projects and keys, in memory."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from antiphon.core import stores
from antiphon.core.audit import (
    THE_SERVER,
    Action,
    AuditRecord,
    Author,
    ChangeRecord,
    limits_of,
    organisation_changes,
    policy_changes,
    policy_version,
    scopes_of,
)
from antiphon.core.errors import CallerError, Conflict, NotFound
from antiphon.core.identity import (
    ENVIRONMENT_KEY_ID,
    MAX_WEBHOOKS,
    Key,
    KeyLimits,
    Organisation,
    Project,
    Webhook,
    WebhookSettings,
)
from antiphon.core.policy import Policy, read_policy
from antiphon.core.stores import MAX_READ, DirectoryView


class FakeDirectory:
    """An in-memory fake of `core.stores.Directory` with the same rules."""

    def __init__(self) -> None:
        self._view = DirectoryView()
        self.outbox: list[ChangeRecord] = []
        self._noted = 0

    def view(self) -> DirectoryView:
        return self._view

    def add_project(self, project: Project, by: Author = THE_SERVER) -> None:
        if project.id in self._view.projects:
            raise Conflict(f"project {project.id} already exists", param="id")
        tag_keys = {**self._view.tag_keys, project.id: secrets.token_bytes(32)}
        self._view = replace(self._view, tag_keys=tag_keys)
        self._put_project(project)
        self.note(by.did(Action.PROJECT_CREATE, project.id, project.id, policy=policy_version(project.policy)))

    def set_policy(
        self,
        project: str,
        values: Mapping[str, str | int],
        by: Author = THE_SERVER,
        check: Callable[[Policy], object] | None = None,
    ) -> Project:
        known = self._project(project, "id")
        changed = replace(known, policy=read_policy(known.policy.values() | dict(values))[0])
        if check is not None:
            check(changed.policy)
        self._put_project(changed)
        for record in policy_changes(by, project, known.policy, changed.policy):
            self.note(record)
        return changed

    def change_organisation(
        self, organisation: str, change: Callable[[Organisation], Organisation], by: Author = THE_SERVER
    ) -> Organisation:
        known = self._view.organisations
        before = known.get(organisation, Organisation(organisation))
        changed = change(before)
        self._view = replace(self._view, organisations={**known, organisation: changed})
        for record in organisation_changes(by, before, changed):
            self.note(record)
        return changed

    def add_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> None:
        self._project(key.project, "project")
        if key.id in self._view.keys:
            raise Conflict(f"there is a key {key.id} already", param="id")
        self._put_key(key, digest)
        self.note(by.did(Action.KEY_CREATE, key.project, key.id, scopes_of(key)))

    def add_first_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> bool:
        if self._view.keys.keys() - {ENVIRONMENT_KEY_ID}:
            return False
        self._put_key(key, digest)
        self.note(by.did(Action.KEY_CREATE, key.project, key.id, scopes_of(key)))
        return True

    def put_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> None:
        before = self._view.keys.get(key.id)
        known = before[0] if before else key
        changed = replace(known, scopes=key.scopes, prefix=key.prefix, revoked_unix_ms=None)
        self._put_key(changed, digest)
        if before != (changed, digest):
            action = Action.KEY_CREATE if before is None else Action.KEY_CHANGE
            self.note(by.did(action, key.project, key.id, scopes_of(key)))

    def rotate_key(self, key_id: str, ends_unix_ms: int, key: Key, digest: bytes, by: Author = THE_SERVER) -> Key:
        old, its_digest = self._key(key_id)
        if old.revoked_unix_ms is not None:
            raise Conflict(f"key {key_id} is revoked", param="id")
        if key.id in self._view.keys:
            raise Conflict(f"there is a key {key.id} already", param="id")
        ends = min(ends_unix_ms, ends_unix_ms if old.expires_unix_ms is None else old.expires_unix_ms)
        key = replace(key, limits=old.limits)
        self._put_key(replace(old, expires_unix_ms=ends), its_digest)
        self._put_key(key, digest)
        self.note(by.did(Action.KEY_ROTATE, key.project, key_id, f"by {key.id}, ends at {ends}"))
        self.note(by.did(Action.KEY_CREATE, key.project, key.id, scopes_of(key)))
        return key

    def limit_key(self, key_id: str, change: Callable[[KeyLimits], KeyLimits], by: Author = THE_SERVER) -> Key:
        known, digest = self._key(key_id)
        limits = change(known.limits)
        key = replace(known, limits=limits)
        self._put_key(key, digest)
        if limits != known.limits:
            self.note(by.did(Action.KEY_CHANGE, key.project, key_id, limits_of(limits)))
        return key

    def revoke_key(self, key_id: str, now_unix_ms: int, by: Author = THE_SERVER) -> Key:
        key, digest = self._key(key_id)
        if key.revoked_unix_ms is None:
            key = replace(key, revoked_unix_ms=now_unix_ms)
            self._put_key(key, digest)
            self.note(by.did(Action.KEY_REVOKE, key.project, key_id))
        return key

    def replace_tag_key(self, project: str, by: Author = THE_SERVER) -> None:
        self._project(project, "id")
        tag_keys = {**self._view.tag_keys, project: secrets.token_bytes(32)}
        self._view = replace(self._view, tag_keys=tag_keys)
        self.note(by.did(Action.TAGS_FORGET, project, project))

    def add_webhook(self, webhook: Webhook, by: Author = THE_SERVER) -> None:
        self._project(webhook.project, "project")
        if sum(each.project == webhook.project for each in self._view.webhooks.values()) >= MAX_WEBHOOKS:
            raise CallerError(f"a project can have at most {MAX_WEBHOOKS} webhooks", param="project")
        self._view = replace(self._view, webhooks={**self._view.webhooks, webhook.id: webhook})
        self.note(by.did(Action.WEBHOOK_CREATE, webhook.project, webhook.id))

    def change_webhook(
        self,
        webhook_id: str,
        name: str,
        change: Callable[[WebhookSettings], WebhookSettings],
        by: Author = THE_SERVER,
    ) -> Webhook:
        before = self._view.webhooks.get(webhook_id)
        if before is None:
            raise NotFound(f"webhook {webhook_id} not found", param="id")
        webhook = replace(before, name=name, settings=change(before.settings))
        self._view = replace(self._view, webhooks={**self._view.webhooks, webhook_id: webhook})
        if webhook != before:
            self.note(by.did(Action.WEBHOOK_CHANGE, webhook.project, webhook_id))
        return webhook

    def delete_webhook(self, webhook_id: str, by: Author = THE_SERVER) -> Webhook:
        left = dict(self._view.webhooks)
        webhook = left.pop(webhook_id, None)
        if webhook is None:
            raise NotFound(f"webhook {webhook_id} not found", param="id")
        self._view = replace(self._view, webhooks=left)
        self.note(by.did(Action.WEBHOOK_DELETE, webhook.project, webhook_id))
        return webhook

    def retire_key(self, project: str, by: Author = THE_SERVER) -> None:
        self._project(project, "id")
        self.note(by.did(Action.CONTENT_KEY_RETIRE, project, project))

    def destroy_keys(self, project: str, by: Author = THE_SERVER) -> None:
        self._project(project, "id")
        tag_keys = {**self._view.tag_keys, project: secrets.token_bytes(32)}
        self._view = replace(self._view, tag_keys=tag_keys)
        self.note(by.did(Action.CONTENT_KEYS_DESTROY, project, project))

    def note(self, record: AuditRecord) -> None:
        self._noted += 1
        self.outbox.append(ChangeRecord(self._noted, record))

    def changes(self, limit: int = MAX_READ) -> tuple[str, list[ChangeRecord]]:
        return "fake", self.outbox[:limit]

    def drained(self, position: int) -> None:
        self.outbox = [change for change in self.outbox if change.position > position]

    def follow(self) -> "_Following":
        return _Following(self)

    def _project(self, project: str, param: str) -> Project:
        if project not in self._view.projects:
            raise NotFound(f"project {project} not found", param=param)
        return self._view.projects[project]

    def _key(self, key_id: str) -> tuple[Key, bytes]:
        if key_id not in self._view.keys:
            raise NotFound(f"key {key_id} not found", param="id")
        return self._view.keys[key_id]

    def _put_project(self, project: Project) -> None:
        projects = {**self._view.projects, project.id: project}
        self._view = replace(self._view, projects=dict(sorted(projects.items())))

    def _put_key(self, key: Key, digest: bytes) -> None:
        keys = {**self._view.keys, key.id: (key, digest)}
        ordered = sorted(keys.items(), key=lambda item: (item[1][0].created_unix_ms, item[0]))
        self._view = replace(self._view, keys=dict(ordered))


class _Following:
    """Implements `core.stores.Follower`."""

    def __init__(self, directory: FakeDirectory) -> None:
        self._directory = directory
        self._seen: DirectoryView | None = None

    def poll(self) -> DirectoryView | None:
        before, self._seen = self._seen, self._directory.view()
        return None if self._seen is before else self._seen

    def close(self) -> None:
        pass


if TYPE_CHECKING:  # makes mypy check that the fake implements its port
    _DIRECTORY: type[stores.Directory] = FakeDirectory
    _FOLLOWER: type[stores.Follower] = _Following
