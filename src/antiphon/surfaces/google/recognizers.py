"""Recognizers of v2 (AIP-131 to 136): named configurations, which calls refer to. Deleted ones can be restored for a
time (AIP-164). The answer to a change is an operation that is done already; it is not kept.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from antiphon.core.errors import CallerError, Conflict, NotFound
from antiphon.core.resources import Change, ManyResources, OneResource, Resource, ResourceChange
from antiphon.core.wire import Opening, Step
from antiphon.surfaces.google import messages, names, v2
from antiphon.surfaces.google.endpoint import LookupMethod
from antiphon.surfaces.google.masks import overridden
from antiphon.surfaces.google.operation import OPERATION, timestamp
from antiphon.surfaces.google.recognizer import KIND, RECOGNIZER
from antiphon.surfaces.google.status import AlreadyExists, FailedPrecondition

DELETED_MS = 30 * 86_400_000  # after its deletion a recognizer can be restored for so long
USUALLY_LISTED, MOST_LISTED = 5, 100  # Google's own
MAX_ANNOTATIONS, MAX_NAME_CHARS = 100, 63
SETTABLE = ("display_name", "model", "language_codes", "default_recognition_config", "annotations")


class GetRecognizer(LookupMethod):
    """The method that returns a recognizer, even if it was deleted."""

    request = f"{v2.PACKAGE}.GetRecognizerRequest"

    def ask(self, opening: Opening, body: bytes) -> OneResource:
        name = _name(self.read(opening, body).name)
        return OneResource(KIND, name, lambda resource: self.answer(opening, _recognizer(resource)))


class ListRecognizers(LookupMethod):
    """The method that lists the recognizers of a project and location, by name."""

    request = f"{v2.PACKAGE}.ListRecognizersRequest"

    def ask(self, opening: Opening, body: bytes) -> ManyResources:
        message = self.read(opening, body)
        prefix = f"{names.parent(message.parent)}/recognizers/"
        limit = names.page_size(message.page_size, USUALLY_LISTED, MOST_LISTED)
        after = names.after(message.page_token)

        def tell(found: Sequence[Resource], more: bool) -> Step:
            made = messages.kind(f"{v2.PACKAGE}.ListRecognizersResponse")()
            made.recognizers.extend(map(_recognizer, found))
            if more:
                made.next_page_token = names.page_token(found[-1].name)
            return self.answer(opening, made)

        return ManyResources(KIND, prefix, after, limit, message.show_deleted, tell)


class _Changing(LookupMethod):
    """A method that changes a recognizer, and is answered with an operation."""

    def ask(self, opening: Opening, body: bytes) -> ResourceChange:
        message = self.read(opening, body)
        name, change = self._change(opening, message)
        tell = partial(self._tell, opening, message, name)
        return ResourceChange(KIND, name, change, message.validate_only, tell)

    @abstractmethod
    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        """Return the recognizer's name and the change. Raises `CallerError`."""

    def _tell(self, opening: Opening, message: Any, name: str, resource: Resource | None) -> Step:
        parent = names.recognizer(name)[0]
        made = messages.kind(OPERATION)(name=f"{parent}/operations/{opening.request_id}", done=True)
        now = timestamp(opening.received_unix_ms)
        metadata = messages.kind(f"{v2.PACKAGE}.OperationMetadata")(
            create_time=now,
            update_time=now,
            resource=name,
            method=f"{v2.PACKAGE}.Speech.{self.method}",
            progress_percent=100,
        )
        verb = self.method.removesuffix("Recognizer").lower()
        getattr(metadata, f"{verb}_recognizer_request").CopyFrom(message)
        made.metadata.CopyFrom(messages.packed(metadata))
        shown = messages.kind(RECOGNIZER)() if resource is None else _recognizer(resource)
        made.response.CopyFrom(messages.packed(shown))
        return self.answer(opening, made)


class CreateRecognizer(_Changing):
    """The method that creates a recognizer. Without a `recognizer_id` it gets one."""

    request = f"{v2.PACKAGE}.CreateRecognizerRequest"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        id = message.recognizer_id or f"r-{opening.request_id}"
        if names.RECOGNIZER_ID.fullmatch(id) is None:
            said = "`recognizer_id` must have 4 to 63 characters: a to z, 0 to 9 and -, a letter first and no - last."
            raise CallerError(said, param="recognizer_id")
        name = f"{names.parent(message.parent)}/recognizers/{id}"
        given = _settable(message.recognizer)
        _check(given)

        def change(before: Resource | None, now_unix_ms: int) -> Resource:
            if before is not None:
                raise AlreadyExists(f"Recognizer {name} already exists.", param="recognizer_id")
            given.name, given.uid, given.state = name, opening.request_id, _state("ACTIVE")
            given.create_time.CopyFrom(timestamp(now_unix_ms))
            return _resource(given, now_unix_ms)

        return name, change


class UpdateRecognizer(_Changing):
    """The method that changes the fields of a recognizer that the mask names."""

    request = f"{v2.PACKAGE}.UpdateRecognizerRequest"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        given, mask = message.recognizer, message.update_mask
        name = _name(given.name, "recognizer.name")
        for path in mask.paths:
            if path != "*" and path.partition(".")[0] not in SETTABLE:
                raise CallerError(f"`{path[:64]}` cannot be updated.", param="update_mask")
        etag = given.etag
        wanted = _settable(given)

        def change(recognizer: Any) -> None:
            now = _settable(recognizer)
            after = overridden(now, wanted, mask if mask.paths else None, "update_mask")
            _check(after)
            for path in SETTABLE:
                recognizer.ClearField(path)
            recognizer.MergeFrom(after)

        return name, _of_one(name, etag, change)


class DeleteRecognizer(_Changing):
    """The method that deletes a recognizer: calls cannot refer to it, and it is gone after `expire_time`, unless
    restored.
    """

    request = f"{v2.PACKAGE}.DeleteRecognizerRequest"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        name = _name(message.name)
        delete = _of_one(name, message.etag, lambda recognizer: None, ends_ms=DELETED_MS)

        def change(before: Resource | None, now_unix_ms: int) -> Resource | None:
            if before is not None and not before.deleted:
                return delete(before, now_unix_ms)
            if message.allow_missing:
                return before
            raise NotFound(f"{name!r} not found.", param="name")

        return name, change


class UndeleteRecognizer(_Changing):
    """The method that restores a deleted recognizer."""

    request = f"{v2.PACKAGE}.UndeleteRecognizerRequest"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        name = _name(message.name)
        return name, _of_one(name, message.etag, lambda recognizer: None, deleted=True)


def _of_one(name: str, etag: str, change: Callable[[Any], None], *, deleted: bool = False, ends_ms: int = 0) -> Change:
    """Return a change of an existing recognizer, which must have this etag, if any, and must be deleted or not, as
    `deleted` says. It is kept for `ends_ms` if the change deletes it (0: it does not).
    """

    def changed(before: Resource | None, now_unix_ms: int) -> Resource:
        if before is None:
            raise NotFound(f"{name!r} not found.", param="name")
        if before.deleted and not deleted:
            raise FailedPrecondition(f"Recognizer {name} was deleted.")
        if deleted and not before.deleted:
            raise AlreadyExists(f"Recognizer {name} is not deleted.")
        recognizer = _recognizer(before)
        if etag and etag != recognizer.etag:
            raise Conflict("The etag is not that of the recognizer as it is.", param="etag")
        change(recognizer)
        return _resource(recognizer, now_unix_ms, ends_ms)

    return changed


def _resource(recognizer: Any, now_unix_ms: int, ends_ms: int = 0) -> Resource:
    """Return the recognizer as it is stored."""
    ends = now_unix_ms + ends_ms if ends_ms else 0
    recognizer.update_time.CopyFrom(timestamp(now_unix_ms))
    recognizer.state = _state("DELETED" if ends else "ACTIVE")
    for field, at in (("delete_time", now_unix_ms), ("expire_time", ends)):
        recognizer.ClearField(field)
        if ends:
            getattr(recognizer, field).CopyFrom(timestamp(at))
    recognizer.etag = ""
    digest = hashlib.sha256(recognizer.SerializeToString(deterministic=True)).hexdigest()
    recognizer.etag = f'"{digest[:16]}"'
    return Resource(recognizer.name, recognizer.SerializeToString(deterministic=True), bool(ends), ends)


def _recognizer(resource: Resource) -> Any:
    return messages.read(RECOGNIZER, resource.body)


def _state(name: str) -> int:
    number: int = messages.kind(RECOGNIZER).State.Value(name)
    return number


def _settable(given: Any) -> Any:
    """Return the fields that callers may set."""
    made = type(given)()
    made.CopyFrom(given)
    for field in given.DESCRIPTOR.fields:
        if field.name not in SETTABLE:
            made.ClearField(field.name)
    return made


def _check(given: Any) -> None:
    """Raise `CallerError` if a field is invalid."""
    if len(given.display_name) > MAX_NAME_CHARS:
        raise CallerError(f"`display_name` has {MAX_NAME_CHARS} characters at most.", param="recognizer.display_name")
    if len(given.annotations) > MAX_ANNOTATIONS:
        raise CallerError(f"At most {MAX_ANNOTATIONS} annotations are allowed.", param="recognizer.annotations")
    if given.HasField("default_recognition_config"):
        v2.check(given.default_recognition_config)


def _name(name: str, param: str = "name") -> str:
    """Return the name of a stored recognizer. Raises `CallerError` for the implicit one, or an invalid name."""
    if not names.stored(name):
        raise CallerError("The implicit recognizer is not stored.", param=param)
    return name


METHODS: tuple[type[LookupMethod], ...] = (
    GetRecognizer,
    ListRecognizers,
    CreateRecognizer,
    UpdateRecognizer,
    DeleteRecognizer,
    UndeleteRecognizer,
)
