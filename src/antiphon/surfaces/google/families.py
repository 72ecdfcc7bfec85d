"""The types of stored resources: recognizers, phrase sets and custom classes of v2, and the last two of v1's, which are
the same resources with fewer fields. What is stored is v2's message.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from antiphon.core.errors import CallerError
from antiphon.core.resources import Resource
from antiphon.surfaces.google import adaptation, messages, names, recognizer, v1, v2
from antiphon.surfaces.google.operation import timestamp

MAX_ANNOTATIONS, MAX_NAME_CHARS = 100, 63


@dataclass(frozen=True, slots=True)
class Family:
    """One type of resource: its noun, and its plural in names of methods, the fields with one and with several, its
    collection in names of resources, its kind in the store, the fields that callers may set, and what checks them.
    Lists have `listed` at once unless the caller says how many, and at most `most`.
    """

    noun: str
    plural: str
    field: str
    fields: str
    collection: str
    kind: str
    settable: tuple[str, ...]
    check: Callable[[Any], None]
    package: str = v2.PACKAGE
    listed: int = 5  # Google's own, as is all below
    most: int = 100

    @property
    def first(self) -> bool:
        return self.package == v1.PACKAGE

    @property
    def stored_message(self) -> str:
        return f"{v2.PACKAGE}.{self.noun}"

    def name(self, name: str, param: str = "name") -> str:
        """Return the name of one. Raises `CallerError` if it is invalid."""
        return names.resource(name, self.collection, param)[0]

    def new_name(self, parent: str, id: str, unnamed: str) -> str:
        """Return the name of a new one; `unnamed` is the id of one without, which v1 does not allow. Raises
        `CallerError`.
        """
        param, pattern = f"{self.field}_id", names.FIRST_ID if self.first else names.RESOURCE_ID
        id = id or ("" if self.first else unnamed)
        if pattern.fullmatch(id) is None:
            letters = "letters, digits" if self.first else "a to z, 0 to 9"
            reason = f"`{param}` must have 4 to 63 characters: {letters} and -, a letter first and no - last."
            raise CallerError(reason, param=param)
        return f"{names.parent(parent)}/{self.collection}/{id}"

    def state(self, name: str) -> int:
        number: int = messages.kind(self.stored_message).State.Value(name)
        return number

    def read(self, resource: Resource) -> Any:
        """Return the resource as it is stored."""
        return messages.read(self.stored_message, resource.body)

    def shown(self, resource: Resource) -> Any:
        """Return the resource as this version shows it."""
        stored = self.read(resource)
        if not self.first:
            return stored
        made = messages.converted(stored, f"{self.package}.{self.noun}", ("name", *self.settable))
        if "custom_class_id" in made.DESCRIPTOR.fields_by_name:
            made.custom_class_id = resource.name.rpartition("/")[2]
        return made

    def settings(self, message: Any) -> Any:
        """Return the fields that callers may set, as they are stored."""
        return messages.converted(message, self.stored_message, self.settable)

    def checked(self, settings: Any) -> None:
        """Raise `CallerError` if a field is invalid."""
        if len(settings.display_name) > MAX_NAME_CHARS:
            reason = f"`display_name` has {MAX_NAME_CHARS} characters at most."
            raise CallerError(reason, param=f"{self.field}.display_name")
        if len(settings.annotations) > MAX_ANNOTATIONS:
            reason = f"At most {MAX_ANNOTATIONS} annotations are allowed."
            raise CallerError(reason, param=f"{self.field}.annotations")
        self.check(settings)

    def resource(self, message: Any, now_unix_ms: int, ends_ms: int | None = None) -> Resource:
        """Return the message as it is stored; if `ends_ms` is given it is deleted, and ends after that time."""
        deleted = ends_ms is not None
        ends = now_unix_ms + (ends_ms or 0) if deleted else 0
        message.update_time.CopyFrom(timestamp(now_unix_ms))
        message.state = self.state("DELETED" if deleted else "ACTIVE")
        for field, at in (("delete_time", now_unix_ms), ("expire_time", ends)):
            message.ClearField(field)
            if deleted:
                getattr(message, field).CopyFrom(timestamp(at))
        message.etag = ""
        digest = hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()
        message.etag = f'"{digest[:16]}"'
        return Resource(message.name, message.SerializeToString(deterministic=True), deleted, ends)


def _check_recognizer(settings: Any) -> None:
    if settings.HasField("default_recognition_config"):
        v2.check(settings.default_recognition_config)


_TEXTS = ("display_name", "annotations")
RECOGNIZERS = Family(
    *("Recognizer", "Recognizers", "recognizer", "recognizers", "recognizers", recognizer.KIND),
    settable=(*_TEXTS, "model", "language_codes", "default_recognition_config"),
    check=_check_recognizer,
)
PHRASE_SETS = Family(
    *("PhraseSet", "PhraseSets", "phrase_set", "phrase_sets", "phraseSets", adaptation.PHRASE_SET),
    settable=(*_TEXTS, *adaptation.SET_FIELDS),
    check=adaptation.check_phrases,
)
CUSTOM_CLASSES = Family(
    *("CustomClass", "CustomClasses", "custom_class", "custom_classes", "customClasses", adaptation.CUSTOM_CLASS),
    settable=(*_TEXTS, *adaptation.CLASS_FIELDS),
    check=adaptation.check_items,
)
FAMILIES = (RECOGNIZERS, PHRASE_SETS, CUSTOM_CLASSES)
FIRST_FAMILIES = (  # of v1, whose list of phrase sets has no plural
    replace(PHRASE_SETS, plural="PhraseSet", settable=adaptation.SET_FIELDS, package=v1.PACKAGE, listed=50, most=1_000),
    replace(CUSTOM_CLASSES, settable=adaptation.CLASS_FIELDS, package=v1.PACKAGE, listed=50, most=1_000),
)
