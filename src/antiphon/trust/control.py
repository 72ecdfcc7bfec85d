"""The rules for projects and keys, over the directory that stores them."""

import re
from collections.abc import Iterable
from contextlib import suppress

from antiphon.core.audit import THE_SERVER, Author
from antiphon.core.errors import CallerError, Conflict, NotFound
from antiphon.core.identity import DEFAULT_PROJECT, ENVIRONMENT_KEY_ID, MAX_NAME, Key, Project, Scope
from antiphon.core.labels import forms_of
from antiphon.core.policy import parse_policy, read_policy
from antiphon.core.stores import Directory
from antiphon.trust import keys as form

MIN_ENVIRONMENT_KEY_LENGTH = 16

_PROJECT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Control:
    """The creation and change of projects and keys, recorded as made `by` an author. Blocking; for any thread. Every
    method raises `KeysUnavailable` if they cannot be read or written.
    """

    def __init__(self, directory: Directory, by: Author = THE_SERVER) -> None:
        self._directory = directory
        self._by = by

    def by(self, by: Author) -> "Control":
        """Return the same control with another author of the changes."""
        return Control(self._directory, by)

    def _at(self, now_unix_ms: int) -> Author:
        return self._by._replace(at_unix_ms=now_unix_ms)

    def prepare(self, environment_key: str | None, now_unix_ms: int) -> str | None:
        """Prepare the keys at a server's start. Makes the environment's key valid, and the one of an earlier start
        invalid; on the very first start without one, creates a key and returns it. It cannot be read again.

        Raises `CallerError` for an unsuitable key in the environment.
        """
        self._ensure_default_project(now_unix_ms)
        if environment_key is not None:
            check_environment_key(environment_key)
            name = "ANTIPHON_API_KEY"
            key = Key(ENVIRONMENT_KEY_ID, DEFAULT_PROJECT, name, frozenset(Scope), "", now_unix_ms)
            self._directory.put_key(key, form.digest(environment_key), self._at(now_unix_ms))
            return None
        with suppress(NotFound):
            self._directory.revoke_key(ENVIRONMENT_KEY_ID, now_unix_ms, self._at(now_unix_ms))
        key, secret = _minted(DEFAULT_PROJECT, "first key", frozenset(Scope), now_unix_ms, None)
        added = self._directory.add_first_key(key, form.digest(secret), self._at(now_unix_ms))
        return secret if added else None

    def create_project(self, project_id: str, name: str, now_unix_ms: int, **policy: object) -> Project:
        """Create a project with the given fields of its policy, the others with their defaults.

        Raises `CallerError` for an invalid id or policy, `Conflict` for an id that is taken.
        """
        if not _PROJECT_ID.fullmatch(project_id):
            raise CallerError(
                "a project id has 1 to 63 characters of a-z, 0-9, '-' and '_', and begins with a letter or digit",
                param="id",
            )
        _check_name(name)
        project = Project(project_id, name or project_id, now_unix_ms, read_policy(parse_policy(policy))[0])
        self._directory.add_project(project, self._at(now_unix_ms))
        return project

    def list_projects(self) -> list[Project]:
        return list(self._directory.view().projects.values())

    def change_project(self, project_id: str, now_unix_ms: int, **policy: object) -> Project:
        """Set the given fields of a project's policy. A running server applies them within a second.

        Raises `NotFound`, `CallerError` for an invalid field.
        """
        changes = parse_policy(policy)
        if project_id == DEFAULT_PROJECT:
            self._ensure_default_project(now_unix_ms)
        return self._directory.set_policy(project_id, changes, self._at(now_unix_ms))

    def forget_tags(self, project_id: str) -> Project:
        """Destroy the key that hashed the project's tags, so that those in the ledger become meaningless. Raises
        `NotFound`.
        """
        self._directory.replace_tag_key(project_id, self._by)
        return self._directory.view().projects[project_id]

    def rotate_key(self, project_id: str) -> Project:
        """Have the project's content sealed by a new key from now on. Raises `NotFound`."""
        self._directory.retire_key(project_id, self._by)
        return self._directory.view().projects[project_id]

    def labels(self, project_id: str, tag: str) -> tuple[str, ...]:
        """Return what the ledger may keep of a project's tag."""
        return forms_of(tag, self._directory.view().tag_keys.get(project_id))

    def create_key(
        self,
        project: str,
        name: str,
        scopes: Iterable[Scope],
        now_unix_ms: int,
        expires_unix_ms: int | None = None,
    ) -> tuple[Key, str]:
        """Create a key; return its record and the key itself, which cannot be read again.

        Raises `NotFound` without that project, `CallerError` without a scope or for an expiry in the past.
        """
        granted = frozenset(scopes)
        _check_name(name)
        if not granted:
            raise CallerError("a key needs at least one scope", param="scopes")
        if expires_unix_ms is not None and expires_unix_ms <= now_unix_ms:
            raise CallerError("the expiry is in the past", param="expires")
        if project == DEFAULT_PROJECT:
            self._ensure_default_project(now_unix_ms)
        key, secret = _minted(project, name, granted, now_unix_ms, expires_unix_ms)
        self._directory.add_key(key, form.digest(secret), self._at(now_unix_ms))
        return key, secret

    def list_keys(self, project: str | None = None) -> list[Key]:
        """Return all keys, or one project's, including revoked ones, oldest first."""
        every = [key for key, _ in self._directory.view().keys.values()]
        return [key for key in every if project in (None, key.project)]

    def revoke_key(self, key_id: str, now_unix_ms: int) -> Key:
        """Revoke a key and return it. Revoking it again changes nothing. Raises `NotFound`."""
        return self._directory.revoke_key(key_id, now_unix_ms, self._at(now_unix_ms))

    def _ensure_default_project(self, now_unix_ms: int) -> None:
        with suppress(Conflict):
            self._directory.add_project(Project(DEFAULT_PROJECT, "Default", now_unix_ms), self._at(now_unix_ms))


def check_environment_key(key: str) -> None:
    """Raise `CallerError` for a key that cannot be sent in a header, or is easy to guess."""
    if len(key) < MIN_ENVIRONMENT_KEY_LENGTH or not all("!" <= character <= "~" for character in key):
        raise CallerError(
            f"ANTIPHON_API_KEY must have at least {MIN_ENVIRONMENT_KEY_LENGTH} printable ASCII characters, no spaces",
            param="ANTIPHON_API_KEY",
        )


def _minted(
    project: str, name: str, scopes: frozenset[Scope], now_unix_ms: int, expires_unix_ms: int | None
) -> tuple[Key, str]:
    key_id, secret = form.mint()
    return Key(key_id, project, name, scopes, form.shown(key_id), now_unix_ms, expires_unix_ms), secret


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME or not name.isprintable():
        raise CallerError(f"a name can have at most {MAX_NAME} characters, all printable", param="name")
