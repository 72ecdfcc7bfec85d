"""Adaptation: phrases that may be spoken, in sets, and classes of words that phrases refer to.

A configuration has its sets and classes inline, or refers to stored ones by name; v1 does so by a list of names, or by
a set or class with a name and nothing in it. A phrase refers to a class as `${CLASS}`: by the name of a stored one, the
name (or its last part) of one inline, in v1 its `custom_class_id`, or, in a stored set, by the last part of the name of
one of the same location. It stands for one phrase for each item of the class.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, TypeVar

from antiphon.core.endpoints import NeedsResource
from antiphon.core.errors import CallerError, NotFound
from antiphon.core.resources import Resource
from antiphon.surfaces.google import messages, names
from antiphon.surfaces.google import request as r

PACKAGE = "google.cloud.speech.v2"
PHRASE_SET, CUSTOM_CLASS = "google.phrase_set", "google.custom_class"  # kinds of resources
MAX_ITEMS, MAX_ITEM_CHARS = 500, 100
MAX_CLASSES = 50  # in one phrase, which has 100 characters at most with their items in it
MAX_REFERENCES = 20  # of a configuration, to stored sets, and to stored classes
SET_FIELDS, CLASS_FIELDS = ("phrases", "boost"), ("items",)
_PATH, _CLASSES_PATH = "adaptation.phrase_sets", "adaptation.custom_classes"
_CLASS = re.compile(r"\$\{([^{}]{1,300})\}")

T = TypeVar("T")
Put = Callable[[Resource], None]


def check_phrases(phrase_set: Any) -> None:
    """Raise `CallerError` for a phrase set with too many phrases, or one that is too long."""
    r.phrases((phrase.value for phrase in phrase_set.phrases), "phrase_set.phrases")


def check_items(custom_class: Any) -> None:
    """Raise `CallerError` for a class with too many items, or one that is too long."""
    items = [item.value for item in custom_class.items]
    if len(items) > MAX_ITEMS or any(len(item) > MAX_ITEM_CHARS for item in items):
        reason = f"At most {MAX_ITEMS} items are allowed, of {MAX_ITEM_CHARS} characters at most."
        raise CallerError(reason, param="custom_class.items")


def adapted(configs: Sequence[Any], go_on: Callable[[], T]) -> T | NeedsResource[T]:
    """Return what `go_on` makes, once all stored sets and classes that the configurations refer to are inline. Raises
    `CallerError`.
    """
    for place, config in enumerate(configs):
        for kind, name, put in _needed(config.adaptation):
            return NeedsResource(kind, name, _putting(put, configs[place:], go_on))  # those before are complete
    return go_on()


def _putting(put: Put, configs: Sequence[Any], go_on: Callable[[], T]) -> Callable[[Resource], T | NeedsResource[T]]:
    def resolve(resource: Resource) -> T | NeedsResource[T]:
        if resource.deleted:
            raise NotFound(f"{resource.name!r} was deleted.", param=_PATH)
        put(resource)
        return adapted(configs, go_on)

    return resolve


def _needed(adaptation: Any) -> Iterator[tuple[str, str, Put]]:
    """Yield the kind and name of each stored set and class that is not inline yet, and what puts it there. Raises
    `CallerError`.
    """
    sets, classes = adaptation.phrase_sets, adaptation.custom_classes
    named = getattr(adaptation, "phrase_set_references", ())  # of v1
    if len(sets) + len(named) > MAX_REFERENCES:
        raise CallerError(f"At most {MAX_REFERENCES} phrase sets are allowed.", param=_PATH)
    if len(classes) > MAX_REFERENCES:
        raise CallerError(f"At most {MAX_REFERENCES} custom classes are allowed.", param=_CLASSES_PATH)
    if (
        sum(len(each.phrases) for each in _inline(adaptation)) > r.MAX_PHRASES
    ):  # before they are read, or more put there
        raise r.too_many_phrases(_PATH)
    for each in sets:
        if name := _set_to_read(each):
            param = f"{_PATH}.{'name' if _is_first(each) else 'phrase_set'}"
            yield PHRASE_SET, _set_name(name, param), partial(_put_set, adaptation, each)
    for name in named:
        param = "adaptation.phrase_set_references"
        yield PHRASE_SET, _set_name(name, param), partial(_put_named_set, adaptation)
    for each in classes:
        if _is_first(each) and each.name and not each.custom_class_id and not each.items:
            yield CUSTOM_CLASS, _class_name(each.name), partial(_put_class, each)
    for name in _missing(adaptation):
        if len(classes) == MAX_REFERENCES:
            raise CallerError(f"At most {MAX_REFERENCES} custom classes are allowed.", param=_CLASSES_PATH)
        yield CUSTOM_CLASS, _class_name(name), lambda resource: _put_class(classes.add(), resource)


def _is_first(message: Any) -> bool:
    version: str = message.DESCRIPTOR.file.package
    return not version.endswith(".v2")


def _set_to_read(each: Any) -> str:
    """Return the name of the stored set that stands here, empty for one inline."""
    if _is_first(each):
        return "" if each.phrases else each.name
    return each.phrase_set if each.WhichOneof("value") == "phrase_set" else ""


def _set_name(name: str, param: str) -> str:
    return names.resource(name, "phraseSets", param)[0]


def _class_name(name: str) -> str:
    return names.resource(name, "customClasses", _PATH)[0]


def _put_set(adaptation: Any, each: Any, resource: Resource) -> None:
    """Put a stored set where a reference to it stands. The classes that it names by their id are those of its location,
    unless there are such ones inline.
    """
    known, location = _classes(adaptation), names.resource(resource.name, "phraseSets")[1]
    stored = messages.read(f"{PACKAGE}.PhraseSet", resource.body)
    for phrase in stored.phrases:
        phrase.value = _CLASS.sub(
            lambda match: match[0] if match[1] in known else f"${{{_within(location, match[1])}}}", phrase.value
        )
    if not _is_first(each):
        each.inline_phrase_set.CopyFrom(stored)
    else:
        each.CopyFrom(messages.converted(stored, each.DESCRIPTOR.full_name, SET_FIELDS))  # without the name: it is read


def _put_named_set(adaptation: Any, resource: Resource) -> None:
    del adaptation.phrase_set_references[0]
    _put_set(adaptation, adaptation.phrase_sets.add(), resource)


def _put_class(each: Any, resource: Resource) -> None:
    stored = messages.read(f"{PACKAGE}.CustomClass", resource.body)
    each.MergeFrom(messages.converted(stored, each.DESCRIPTOR.full_name, CLASS_FIELDS))
    each.name = resource.name
    if _is_first(each):
        each.custom_class_id = resource.name.rpartition("/")[2]


def _within(location: str, id: str) -> str:
    return id if "/" in id else f"{location}/customClasses/{id}"


def phrases_of(config: Any) -> tuple[str, ...]:
    """Return the phrases of a configuration whose sets and classes are all inline. Raises `CallerError`."""
    classes = _classes(config.adaptation)
    written = (phrase.value for each in inline(config) for phrase in each.phrases)
    return r.phrases(_bounded(each for phrase in written for each in _spoken(phrase, classes)), _PATH)


def inline(config: Any) -> Iterator[Any]:
    """Yield the phrase sets of a configuration that are inline."""
    return _inline(config.adaptation)


def _inline(adaptation: Any) -> Iterator[Any]:
    for each in adaptation.phrase_sets:
        if _is_first(each):
            yield each
        elif each.WhichOneof("value") == "inline_phrase_set":
            yield each.inline_phrase_set


def _missing(adaptation: Any) -> Iterator[str]:
    """Yield the names of stored classes that phrases refer to and that are not inline."""
    known = _classes(adaptation)
    for each in _inline(adaptation):
        for phrase in each.phrases:
            for name in _CLASS.findall(phrase.value):
                if name not in known and "/" in name:
                    yield name


def _classes(adaptation: Any) -> Mapping[str, Sequence[str]]:
    """Return the items of each class inline, by its name, by the last part of that, and in v1 by its id."""
    found: dict[str, Sequence[str]] = {}
    for each in adaptation.custom_classes:
        check_items(each)
        for name in (each.name, each.name.rpartition("/")[2], getattr(each, "custom_class_id", "")):
            found[name] = [item.value for item in each.items]
    return found


def _spoken(phrase: str, classes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the phrase with each choice of items for the classes in it. Raises `CallerError` for an unknown class, or
    too many of them.
    """
    parts = _CLASS.split(phrase)  # texts and names of classes, in turn
    if len(parts) > 2 * MAX_CLASSES + 1:
        raise CallerError(f"A phrase can have {MAX_CLASSES} custom classes at most.", param=_PATH)
    for name in parts[1::2]:
        if name not in classes:
            raise CallerError(f"There is no custom class {name[:64]!r}.", param=_PATH)
    for chosen in product(*(classes[part] if place % 2 else (part,) for place, part in enumerate(parts))):
        yield "".join(chosen)


def _bounded(phrases: Iterable[str]) -> Iterator[str]:
    """Yield the phrases. Raises `CallerError` if there are too many, equal ones included."""
    for count, phrase in enumerate(phrases):
        if count == r.MAX_PHRASES:
            raise r.too_many_phrases(_PATH)
        yield phrase
