"""The rules for projects, keys and webhooks, over the directory that stores them."""

import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_network
from urllib.parse import urlsplit

from antiphon.core.audit import THE_SERVER, Author
from antiphon.core.budgets import canonical_together
from antiphon.core.errors import CallerError, Conflict, NotFound
from antiphon.core.identity import (
    DEFAULT_PROJECT,
    ENVIRONMENT_KEY_ID,
    MAX_NAME,
    NO_LIMITS,
    USUAL_SETTINGS,
    Key,
    KeyLimits,
    Organisation,
    Project,
    Scope,
    Webhook,
    WebhookSettings,
)
from antiphon.core.labels import forms_of
from antiphon.core.policy import ORGANISATION, Policy, parse_policy, read_policy
from antiphon.core.stores import Directory
from antiphon.trust import keys as form
from antiphon.trust.profiles import Profiles

MIN_ENVIRONMENT_KEY_LENGTH = 16
MAX_URL = 2_048
MAX_HEADERS, MAX_HEADER_VALUE = 16, 1_024  # of a webhook's own
WEBHOOK_SECRET, WEBHOOK_SECRET_BYTES = "wsec_", 32  # ElevenLabs' own form
MAX_OVERLAP_MS = 90 * 86_400_000  # of a rotated key and its successor
MAX_LIMITS = 64  # of each kind, of one key

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110, section 5.6.2
_OWN_HEADERS = frozenset(  # those that say what the message is, or concern one connection
    (
        *("connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)
_ORGANISATION = re.compile(ORGANISATION)
_PROJECT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Control:
    """The creation and change of projects, keys and webhooks, recorded as made `by` an author. Blocking; for any
    thread. Every method raises `KeysUnavailable` if they cannot be read or written. Policies are never less strict than
    `profiles`. `surfaces` returns the names of all surfaces; without it, those in a key's limits are not checked.
    """

    def __init__(
        self,
        directory: Directory,
        by: Author = THE_SERVER,
        profiles: Profiles | None = None,
        surfaces: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self._directory = directory
        self._by = by
        self.profiles = profiles or Profiles()
        self._surfaces = surfaces

    def by(self, by: Author) -> "Control":
        """Return the same control with another author of the changes."""
        return Control(self._directory, by, self.profiles, self._surfaces)

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
        """Create a project with the given fields of its policy; the others are those of the profile for new projects,
        or have their defaults.

        Raises `CallerError` for an invalid id or policy, `Conflict` for an id that is taken.
        """
        if not _PROJECT_ID.fullmatch(project_id):
            raise CallerError(
                "a project id has 1 to 63 characters of a-z, 0-9, '-' and '_', and begins with a letter or digit",
                param="id",
            )
        _check_name(name)
        fields = parse_policy(policy)
        project = Project(project_id, name or project_id, now_unix_ms, self._beginning(fields))
        self.profiles.check(project_id, project.policy, fields)
        self._directory.add_project(project, self._at(now_unix_ms))
        return project

    def list_projects(self) -> list[Project]:
        return list(self._directory.view().projects.values())

    def find_project(self, project_id: str) -> Project:
        """Return a project. Raises `NotFound`."""
        found = self._directory.view().projects.get(project_id)
        if found is None:
            raise NotFound(f"project {project_id} not found", param="id")
        return found

    def change_project(self, project_id: str, now_unix_ms: int, **policy: object) -> Project:
        """Set the given fields of a project's policy. A running server applies them within a second.

        Raises `NotFound`, `CallerError` for an invalid field.
        """
        changes = parse_policy(policy)
        if project_id == DEFAULT_PROJECT:
            self._ensure_default_project(now_unix_ms)

        def check(policy: Policy) -> None:
            self.profiles.check(project_id, policy, changes)

        return self._directory.set_policy(project_id, changes, self._at(now_unix_ms), check)

    def find_organisation(self, organisation: str) -> Organisation:
        """Return an organisation, whether or not it has budgets or limits. Raises `CallerError` for an invalid id."""
        if not _ORGANISATION.fullmatch(organisation):
            raise CallerError(
                "an organisation's id has 1 to 63 characters of a-z, 0-9, '-' and '_', and begins with a letter or"
                " digit",
                param="organisation",
            )
        return self._directory.view().organisations.get(organisation) or Organisation(organisation)

    def list_organisations(self) -> dict[Organisation, list[str]]:
        """Return all organisations that have projects, budgets or limits, with the ids of their projects."""
        view = self._directory.view()
        found: dict[str, list[str]] = {each: [] for each in view.organisations}
        for project in view.projects.values():
            if project.policy.organisation:
                found.setdefault(project.policy.organisation, []).append(project.id)
        return {view.organisations.get(id) or Organisation(id): found[id] for id in sorted(found)}

    def change_organisation(
        self, organisation: str, now_unix_ms: int, budgets: object = None, limits: object = None
    ) -> Organisation:
        """Set the budgets or the limits of an organisation. A running server applies them within a second.

        Raises `CallerError` for an invalid id, budget or limit.
        """
        self.find_organisation(organisation)  # checks the id

        def change(before: Organisation) -> Organisation:
            texts = (
                before.budgets if budgets is None else budgets,
                before.limits if limits is None else limits,
            )
            try:
                return Organisation(organisation, *canonical_together(*texts))
            except ValueError as error:
                raise CallerError(f"these are no budgets and limits of an organisation: {error}") from None

        return self._directory.change_organisation(organisation, change, self._at(now_unix_ms))

    def forget_tags(self, project_id: str) -> Project:
        """Destroy the key that hashed the project's tags, so that those in the ledger become meaningless. Raises
        `NotFound`.
        """
        self._directory.replace_tag_key(project_id, self._by)
        return self._directory.view().projects[project_id]

    def rotate_content_key(self, project_id: str) -> Project:
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
        limits: KeyLimits = NO_LIMITS,
    ) -> tuple[Key, str]:
        """Create a key; return its record and the key itself, which cannot be read again.

        Raises `NotFound` without that project, `CallerError` without a scope, for an expiry in the past, or for invalid
        limits.
        """
        granted = frozenset(scopes)
        _check_name(name)
        if not granted:
            raise CallerError("a key needs at least one scope", param="scopes")
        if expires_unix_ms is not None and expires_unix_ms <= now_unix_ms:
            raise CallerError("the expiry is in the past", param="expires")
        if project == DEFAULT_PROJECT:
            self._ensure_default_project(now_unix_ms)
        key, secret = _minted(project, name, granted, now_unix_ms, expires_unix_ms, self.parse_limits(limits))
        self._directory.add_key(key, form.digest(secret), self._at(now_unix_ms))
        return key, secret

    def rotate_key(
        self, key_id: str, overlap_ms: int, now_unix_ms: int, latest_unix_ms: int | None = None
    ) -> tuple[Key, str]:
        """Create a key with the name, scopes and limits of another one, which expires after the overlap. The new one
        lives as long as that was to live, but not beyond `latest_unix_ms`, if given. Return its record and the key
        itself. Raises `NotFound`, and `CallerError` for a key that is no longer valid, for the
        environment's, or for an overlap of more than `MAX_OVERLAP_MS`.
        """
        old = self.find_key(key_id)
        if key_id == ENVIRONMENT_KEY_ID:
            raise CallerError(
                "the key from the environment is replaced by starting the server with another", param="id"
            )
        if not old.holds(now_unix_ms):
            raise CallerError(f"key {key_id} is revoked or has expired: create a new one", param="id")
        if not 0 <= overlap_ms <= MAX_OVERLAP_MS:
            raise CallerError(f"an overlap is at most {MAX_OVERLAP_MS // 86_400_000} days", param="overlap")
        lifetime = None if old.expires_unix_ms is None else old.expires_unix_ms - old.created_unix_ms
        ends = [latest_unix_ms, None if lifetime is None else now_unix_ms + lifetime]
        expires = min((each for each in ends if each is not None), default=None)
        key, secret = _minted(old.project, old.name, old.scopes, now_unix_ms, expires)
        until = now_unix_ms + overlap_ms
        return self._directory.rotate_key(key_id, until, key, form.digest(secret), self._at(now_unix_ms)), secret

    def limit_key(self, key_id: str, change: Callable[[KeyLimits], KeyLimits], now_unix_ms: int) -> Key:
        """Set where a key may be used to what `change` makes of its limits. A running server applies it within a
        second, to new calls. Raises `NotFound`, `CallerError` for invalid limits.
        """
        return self._directory.limit_key(key_id, lambda old: self.parse_limits(change(old)), self._at(now_unix_ms))

    def parse_limits(self, limits: KeyLimits) -> KeyLimits:
        """Return limits in their only form. Raises `CallerError` if they are invalid."""
        networks = []
        for network in limits.networks:
            try:
                networks.append(str(ip_network(network, strict=False)))
            except ValueError:
                raise CallerError(f"{network[:64]!r} is not a network such as 192.0.2.0/24", param="networks") from None
        if any(not name.isprintable() or not 0 < len(name) <= MAX_NAME for name in limits.models):
            raise CallerError(f"a pattern of models has 1 to {MAX_NAME} printable characters", param="models")
        if limits.surfaces and self._surfaces is not None:
            known = self._surfaces()
            if any(surface not in known for surface in limits.surfaces):
                raise CallerError(f"surfaces are {', '.join(sorted(known))}", param="surfaces")
        for param, named in (("networks", networks), ("models", limits.models), ("surfaces", limits.surfaces)):
            if len(named) > MAX_LIMITS:
                raise CallerError(f"a key has at most {MAX_LIMITS} {param}", param=param)
        models, surfaces = (tuple(sorted(set(each))) for each in (limits.models, limits.surfaces))
        return KeyLimits(tuple(dict.fromkeys(networks)), models, surfaces)

    def find_key(self, key_id: str) -> Key:
        """Return a key. Raises `NotFound`."""
        found = self._directory.view().keys.get(key_id)
        if found is None:
            raise NotFound(f"key {key_id} not found", param="id")
        return found[0]

    def limits_of(self, caller_id: str) -> KeyLimits:
        """Return the limits of a caller; who has signed in without a key has none."""
        found = self._directory.view().keys.get(caller_id)
        return found[0].limits if found else NO_LIMITS

    def end_of(self, caller_id: str) -> int | None:
        """Return when a caller's key expires; `None` for never, and for who has signed in without a key."""
        found = self._directory.view().keys.get(caller_id)
        return found[0].expires_unix_ms if found else None

    def list_keys(self, project: str | None = None) -> list[Key]:
        """Return all keys, or one project's, including revoked ones, oldest first."""
        every = [key for key, _ in self._directory.view().keys.values()]
        return [key for key in every if project in (None, key.project)]

    def revoke_key(self, key_id: str, now_unix_ms: int) -> Key:
        """Revoke a key and return it. Revoking it again changes nothing. Raises `NotFound`."""
        return self._directory.revoke_key(key_id, now_unix_ms, self._at(now_unix_ms))

    def create_webhook(
        self, project: str, name: str, url: str, now_unix_ms: int, settings: WebhookSettings = USUAL_SETTINGS
    ) -> Webhook:
        """Create a webhook; its secret is to be shown now, and never again. Raises `NotFound` without that project,
        `CallerError` for a URL that cannot be posted to, headers that cannot be sent, or too many of them.
        """
        _check_name(name)
        check_url(url)
        check_headers(settings.headers)
        if project == DEFAULT_PROJECT:
            self._ensure_default_project(now_unix_ms)
        secret = WEBHOOK_SECRET + secrets.token_hex(WEBHOOK_SECRET_BYTES)
        webhook = Webhook(secrets.token_hex(16), project, name, url, now_unix_ms, secret, settings)
        self._directory.add_webhook(webhook, self._at(now_unix_ms))
        return webhook

    def list_webhooks(self, project: str | None = None) -> list[Webhook]:
        """Return all webhooks, or one project's, oldest first."""
        return [each for each in self._directory.view().webhooks.values() if project in (None, each.project)]

    def change_webhook(
        self, webhook_id: str, name: str, change: Callable[[WebhookSettings], WebhookSettings], now_unix_ms: int
    ) -> Webhook:
        """Set a webhook's name, and its settings to what `change` makes of them. Raises `NotFound`, `CallerError` for
        headers that cannot be sent.
        """
        _check_name(name)

        def checked(old: WebhookSettings) -> WebhookSettings:
            settings = change(old)
            check_headers(settings.headers)
            return settings

        return self._directory.change_webhook(webhook_id, name, checked, self._at(now_unix_ms))

    def delete_webhook(self, webhook_id: str, now_unix_ms: int) -> Webhook:
        """Delete a webhook: nothing is sent there any more. Raises `NotFound`."""
        return self._directory.delete_webhook(webhook_id, self._at(now_unix_ms))

    def _ensure_default_project(self, now_unix_ms: int) -> None:
        with suppress(Conflict):
            project = Project(DEFAULT_PROJECT, "Default", now_unix_ms, self._beginning({}))
            self._directory.add_project(project, self._at(now_unix_ms))

    def _beginning(self, fields: Mapping[str, str | int]) -> Policy:
        """Return the policy that a new project begins with: the given fields, and those of the profile for new ones."""
        profile = self.profiles.new
        return read_policy({**dict(profile.fields if profile else ()), **fields})[0]


def check_url(url: str) -> None:
    """Raise `CallerError` for a URL that nothing can be posted to. Where it leads is checked at every post."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
    except ValueError:
        sound = False
    if not sound or len(url) > MAX_URL or not url.isprintable() or " " in url:
        raise CallerError(f"a URL begins with http:// or https://, and has at most {MAX_URL} characters", param="url")


def check_headers(headers: Iterable[tuple[str, str]]) -> None:
    """Raise `CallerError` for headers that cannot be sent with a notice."""
    pairs = tuple(headers)
    if len(pairs) > MAX_HEADERS:
        raise CallerError(f"a webhook has at most {MAX_HEADERS} headers", param="request_headers")
    for name, value in pairs:
        if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS or name.lower().endswith("-signature"):
            raise CallerError(f"the header {name[:64]!r} cannot be set", param="request_headers")
        if len(value) > MAX_HEADER_VALUE or not (value.isascii() and value.isprintable()):
            message = f"a header's value has at most {MAX_HEADER_VALUE} printable ASCII characters"
            raise CallerError(message, param="request_headers")


def check_environment_key(key: str) -> None:
    """Raise `CallerError` for a key that cannot be sent in a header, or is easy to guess."""
    if len(key) < MIN_ENVIRONMENT_KEY_LENGTH or not all("!" <= character <= "~" for character in key):
        raise CallerError(
            f"ANTIPHON_API_KEY must have at least {MIN_ENVIRONMENT_KEY_LENGTH} printable ASCII characters, no spaces",
            param="ANTIPHON_API_KEY",
        )


def _minted(
    project: str,
    name: str,
    scopes: frozenset[Scope],
    now_unix_ms: int,
    expires_unix_ms: int | None,
    limits: KeyLimits = NO_LIMITS,
) -> tuple[Key, str]:
    key_id, secret = form.mint()
    return Key(key_id, project, name, scopes, form.shown(key_id), now_unix_ms, expires_unix_ms, limits=limits), secret


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME or not name.isprintable():
        raise CallerError(f"a name can have at most {MAX_NAME} characters, all printable", param="name")
