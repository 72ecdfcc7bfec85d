"""Recognizers, phrase sets and custom classes of v2 (AIP-131 to 136): named settings, which calls refer to. Deleted
ones can be restored for a time (AIP-164). The answer to a change is an operation that is done already; it is not kept.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from antiphon.core.errors import CallerError, Conflict, NotFound
from antiphon.core.resources import Change, ManyResources, OneResource, Resource, ResourceChange
from antiphon.core.wire import Opening, Step
from antiphon.surfaces.google import adaptation, messages, names, recognizer, v2
from antiphon.surfaces.google.endpoint import LookupMethod, Rest
from antiphon.surfaces.google.masks import overridden
from antiphon.surfaces.google.operation import OPERATION, timestamp
from antiphon.surfaces.google.status import AlreadyExists, FailedPrecondition

DELETED_MS = 30 * 86_400_000  # after its deletion a resource can be restored for so long
USUALLY_LISTED, MOST_LISTED = 5, 100  # Google's own
MAX_ANNOTATIONS, MAX_NAME_CHARS = 100, 63


@dataclass(frozen=True, slots=True)
class Family:
    """One type of resource: its noun and plural in names of methods, the fields with one and with several, its
    collection in names of resources, its kind in the store, the fields that callers may set, and what checks them.
    """

    noun: str
    plural: str
    field: str
    fields: str
    collection: str
    kind: str
    settable: tuple[str, ...]
    check: Callable[[Any], None]

    @property
    def message(self) -> str:
        return f"{v2.PACKAGE}.{self.noun}"

    def name(self, name: str, param: str = "name") -> str:
        """Return the name of one. Raises `CallerError` if it is invalid."""
        return names.resource(name, self.collection, param)[0]

    def state(self, name: str) -> int:
        number: int = messages.kind(self.message).State.Value(name)
        return number

    def read(self, resource: Resource) -> Any:
        return messages.read(self.message, resource.body)

    def given(self, message: Any) -> Any:
        """Return the fields that callers may set."""
        made = type(message)()
        made.CopyFrom(message)
        for field in message.DESCRIPTOR.fields:
            if field.name not in self.settable:
                made.ClearField(field.name)
        return made

    def checked(self, given: Any) -> None:
        """Raise `CallerError` if a field is invalid."""
        if len(given.display_name) > MAX_NAME_CHARS:
            said = f"`display_name` has {MAX_NAME_CHARS} characters at most."
            raise CallerError(said, param=f"{self.field}.display_name")
        if len(given.annotations) > MAX_ANNOTATIONS:
            said = f"At most {MAX_ANNOTATIONS} annotations are allowed."
            raise CallerError(said, param=f"{self.field}.annotations")
        self.check(given)

    def resource(self, message: Any, now_unix_ms: int, ends_ms: int = 0) -> Resource:
        """Return the message as it is stored. If it is deleted, it ends after `ends_ms`."""
        ends = now_unix_ms + ends_ms if ends_ms else 0
        message.update_time.CopyFrom(timestamp(now_unix_ms))
        message.state = self.state("DELETED" if ends else "ACTIVE")
        for field, at in (("delete_time", now_unix_ms), ("expire_time", ends)):
            message.ClearField(field)
            if ends:
                getattr(message, field).CopyFrom(timestamp(at))
        message.etag = ""
        digest = hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()
        message.etag = f'"{digest[:16]}"'
        return Resource(message.name, message.SerializeToString(deterministic=True), bool(ends), ends)


class _Method(LookupMethod):
    """A method of a family."""

    verb = ""

    def __init__(self, family: Family, *, first: bool = False, rest: Rest | None = None) -> None:
        super().__init__(first=first, rest=rest)
        self.family = family
        self.request = f"{v2.PACKAGE}.{self.verb}{self._what}Request"

    @property
    def _what(self) -> str:
        return self.family.noun


class Get(_Method):
    """The method that returns a resource, even if it was deleted."""

    verb = "Get"

    def ask(self, opening: Opening, body: bytes) -> OneResource:
        family = self.family
        name = family.name(self.read(opening, body).name)
        return OneResource(family.kind, name, lambda resource: self.answer(opening, family.read(resource)))


class List(_Method):
    """The method that lists the resources of a project and location, by name."""

    verb = "List"

    @property
    def _what(self) -> str:
        return self.family.plural

    def ask(self, opening: Opening, body: bytes) -> ManyResources:
        family, message = self.family, self.read(opening, body)
        prefix = f"{names.parent(message.parent)}/{family.collection}/"
        limit = names.page_size(message.page_size, USUALLY_LISTED, MOST_LISTED)
        after = names.after(message.page_token)

        def tell(found: Sequence[Resource], more: bool) -> Step:
            made = messages.kind(f"{v2.PACKAGE}.List{family.plural}Response")()
            getattr(made, family.fields).extend(map(family.read, found))
            if more:
                made.next_page_token = names.page_token(found[-1].name)
            return self.answer(opening, made)

        return ManyResources(family.kind, prefix, after, limit, message.show_deleted, tell)


class _Changing(_Method):
    """A method that changes a resource, and is answered with an operation."""

    def ask(self, opening: Opening, body: bytes) -> ResourceChange:
        message = self.read(opening, body)
        name, change = self._change(opening, message)
        tell = partial(self._tell, opening, message, name)
        return ResourceChange(self.family.kind, name, change, message.validate_only, tell)

    @abstractmethod
    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        """Return the resource's name and the change. Raises `CallerError`."""

    def _tell(self, opening: Opening, message: Any, name: str, resource: Resource | None) -> Step:
        family = self.family
        parent = names.resource(name, family.collection)[1]
        made = messages.kind(OPERATION)(name=f"{parent}/operations/{opening.request_id}", done=True)
        now = timestamp(opening.received_unix_ms)
        metadata = messages.kind(f"{v2.PACKAGE}.OperationMetadata")(
            create_time=now,
            update_time=now,
            resource=name,
            method=f"{v2.PACKAGE}.Speech.{self.method}",
            progress_percent=100,
        )
        getattr(metadata, f"{self.verb.lower()}_{family.field}_request").CopyFrom(message)
        made.metadata.CopyFrom(messages.packed(metadata))
        shown = messages.kind(family.message)() if resource is None else family.read(resource)
        made.response.CopyFrom(messages.packed(shown))
        return self.answer(opening, made)

    def _of_one(
        self, name: str, etag: str, change: Callable[[Any], None], *, deleted: bool = False, ends_ms: int = 0
    ) -> Change:
        """Return a change of an existing resource, which must have this etag, if any, and must be deleted or not, as
        `deleted` says. It is kept for `ends_ms` if the change deletes it (0: it does not).
        """
        family = self.family

        def changed(before: Resource | None, now_unix_ms: int) -> Resource:
            if before is None:
                raise NotFound(f"{name!r} not found.", param="name")
            if before.deleted and not deleted:
                raise FailedPrecondition(f"{family.noun} {name} was deleted.")
            if deleted and not before.deleted:
                raise AlreadyExists(f"{family.noun} {name} is not deleted.")
            message = family.read(before)
            if etag and etag != message.etag:
                raise Conflict("The etag is not that of the resource as it is.", param="etag")
            change(message)
            return family.resource(message, now_unix_ms, ends_ms)

        return changed


class Create(_Changing):
    """The method that creates a resource. Without an id it gets one."""

    verb = "Create"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        family, param = self.family, f"{self.family.field}_id"
        id = getattr(message, param) or f"r-{opening.request_id}"
        if names.RESOURCE_ID.fullmatch(id) is None:
            said = f"`{param}` must have 4 to 63 characters: a to z, 0 to 9 and -, a letter first and no - last."
            raise CallerError(said, param=param)
        name = f"{names.parent(message.parent)}/{family.collection}/{id}"
        given = family.given(getattr(message, family.field))
        family.checked(given)

        def change(before: Resource | None, now_unix_ms: int) -> Resource:
            if before is not None:
                raise AlreadyExists(f"{family.noun} {name} already exists.", param=param)
            given.name, given.uid, given.state = name, opening.request_id, family.state("ACTIVE")
            given.create_time.CopyFrom(timestamp(now_unix_ms))
            return family.resource(given, now_unix_ms)

        return name, change


class Update(_Changing):
    """The method that changes the fields of a resource that the mask names."""

    verb = "Update"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        family, mask = self.family, message.update_mask
        given = getattr(message, family.field)
        name = family.name(given.name, f"{family.field}.name")
        for path in mask.paths:
            if path != "*" and path.partition(".")[0] not in family.settable:
                raise CallerError(f"`{path[:64]}` cannot be updated.", param="update_mask")
        etag = given.etag
        wanted = family.given(given)

        def change(stored: Any) -> None:
            after = overridden(family.given(stored), wanted, mask if mask.paths else None, "update_mask")
            family.checked(after)
            for path in family.settable:
                stored.ClearField(path)
            stored.MergeFrom(after)

        return name, self._of_one(name, etag, change)


class Delete(_Changing):
    """The method that deletes a resource: calls cannot refer to it, and it is gone after `expire_time`, unless
    restored.
    """

    verb = "Delete"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        name = self.family.name(message.name)
        delete = self._of_one(name, message.etag, lambda stored: None, ends_ms=DELETED_MS)

        def change(before: Resource | None, now_unix_ms: int) -> Resource | None:
            if before is not None and not before.deleted:
                return delete(before, now_unix_ms)
            if message.allow_missing:
                return before
            raise NotFound(f"{name!r} not found.", param="name")

        return name, change


class Undelete(_Changing):
    """The method that restores a deleted resource."""

    verb = "Undelete"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        name = self.family.name(message.name)
        return name, self._of_one(name, message.etag, lambda stored: None, deleted=True)


def _check_recognizer(given: Any) -> None:
    if given.HasField("default_recognition_config"):
        v2.check(given.default_recognition_config)


_TEXTS = ("display_name", "annotations")
RECOGNIZERS = Family(
    *("Recognizer", "Recognizers", "recognizer", "recognizers", "recognizers", recognizer.KIND),
    settable=(*_TEXTS, "model", "language_codes", "default_recognition_config"),
    check=_check_recognizer,
)
PHRASE_SETS = Family(
    *("PhraseSet", "PhraseSets", "phrase_set", "phrase_sets", "phraseSets", adaptation.PHRASE_SET),
    settable=(*_TEXTS, "phrases", "boost"),
    check=adaptation.check_phrases,
)
CUSTOM_CLASSES = Family(
    *("CustomClass", "CustomClasses", "custom_class", "custom_classes", "customClasses", adaptation.CUSTOM_CLASS),
    settable=(*_TEXTS, "items"),
    check=adaptation.check_items,
)
FAMILIES = (RECOGNIZERS, PHRASE_SETS, CUSTOM_CLASSES)
METHODS: tuple[Callable[..., LookupMethod], ...] = tuple(
    partial(method, family) for family in FAMILIES for method in (Get, List, Create, Update, Delete, Undelete)
)
