"""Adaptation of v2: phrases that may be spoken, in sets, and classes of words that phrases refer to.

A configuration has its sets and classes inline, or refers to stored ones by name. A phrase refers to a class as
`${CLASS}`: by the name of a stored one, or the name (or its last part) of one inline; it stands for one phrase for each
item of the class.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
MAX_REFERENCES = 20  # of a configuration, to stored sets, and to stored classes
_PATH = "adaptation.phrase_sets"
_CLASS = re.compile(r"\$\{([^{}]{1,200})\}")

T = TypeVar("T")


def check_phrases(phrase_set: Any) -> None:
    """Raise `CallerError` for a phrase set with too many phrases, or one that is too long."""
    r.phrases((phrase.value for phrase in phrase_set.phrases), "phrase_set.phrases")


def check_items(custom_class: Any) -> None:
    """Raise `CallerError` for a class with too many items, or one that is too long."""
    items = [item.value for item in custom_class.items]
    if len(items) > MAX_ITEMS or any(len(item) > MAX_ITEM_CHARS for item in items):
        said = f"At most {MAX_ITEMS} items are allowed, of {MAX_ITEM_CHARS} characters at most."
        raise CallerError(said, param="custom_class.items")


def adapted(configs: Sequence[Any], go_on: Callable[[], T]) -> T | NeedsResource[T]:
    """Return what `go_on` makes, once all stored sets and classes that the configurations refer to are inline. Raises
    `CallerError`.
    """
    for config in configs:
        sets = config.adaptation.phrase_sets
        if len(sets) > MAX_REFERENCES:
            raise CallerError(f"At most {MAX_REFERENCES} phrase sets are allowed.", param=_PATH)
        for each in sets:
            if each.WhichOneof("value") == "phrase_set":
                name = names.resource(each.phrase_set, "phraseSets", f"{_PATH}.phrase_set")[0]
                return NeedsResource(PHRASE_SET, name, _putting(each, configs, go_on))
        missing = next(iter(_missing(config)), "")
        if missing:
            if len(config.adaptation.custom_classes) >= MAX_REFERENCES:
                said = f"At most {MAX_REFERENCES} custom classes are allowed."
                raise CallerError(said, param="adaptation.custom_classes")
            return NeedsResource(CUSTOM_CLASS, missing, _adding(config, configs, go_on))
    return go_on()


def phrases_of(config: Any) -> tuple[str, ...]:
    """Return the phrases of a configuration whose sets and classes are all inline. Raises `CallerError`."""
    classes = _classes(config)
    written = (phrase.value for each in inline(config) for phrase in each.phrases)
    return r.phrases(_bounded(each for phrase in written for each in _spoken(phrase, classes)), _PATH)


def _putting(place: Any, configs: Sequence[Any], go_on: Callable[[], T]) -> Callable[[Resource], T | NeedsResource[T]]:
    def put(resource: Resource) -> T | NeedsResource[T]:
        place.inline_phrase_set.CopyFrom(_read("PhraseSet", resource, f"{_PATH}.phrase_set"))
        return adapted(configs, go_on)

    return put


def _adding(config: Any, configs: Sequence[Any], go_on: Callable[[], T]) -> Callable[[Resource], T | NeedsResource[T]]:
    def add(resource: Resource) -> T | NeedsResource[T]:
        added = config.adaptation.custom_classes.add()
        added.CopyFrom(_read("CustomClass", resource, _PATH))
        added.name = resource.name
        return adapted(configs, go_on)

    return add


def _read(noun: str, resource: Resource, param: str) -> Any:
    if resource.deleted:
        raise NotFound(f"{resource.name!r} was deleted.", param=param)
    return messages.read(f"{PACKAGE}.{noun}", resource.body)


def inline(config: Any) -> Iterator[Any]:
    """Yield the phrase sets that are inline."""
    for each in config.adaptation.phrase_sets:
        if each.WhichOneof("value") == "inline_phrase_set":
            yield each.inline_phrase_set


def _missing(config: Any) -> Iterator[str]:
    """Yield the names of stored classes that phrases refer to and that are not inline."""
    known = _classes(config)
    for each in inline(config):
        for phrase in each.phrases:
            for name in _CLASS.findall(phrase.value):
                if name not in known and "/" in name:
                    yield names.resource(name, "customClasses", _PATH)[0]


def _classes(config: Any) -> Mapping[str, Sequence[str]]:
    """Return the items of each class inline, by its name and by the last part of that."""
    found: dict[str, Sequence[str]] = {}
    for each in config.adaptation.custom_classes:
        check_items(each)
        found[each.name] = found[each.name.rpartition("/")[2]] = [item.value for item in each.items]
    return found


def _spoken(phrase: str, classes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the phrase with each choice of items for the classes in it. Raises `CallerError` for an unknown class."""
    parts = _CLASS.split(phrase)  # texts and names of classes, in turn
    for name in parts[1::2]:
        if name not in classes:
            raise CallerError(f"There is no custom class {name[:64]!r}.", param=_PATH)
    for chosen in product(*(classes[part] if place % 2 else (part,) for place, part in enumerate(parts))):
        yield "".join(chosen)


def _bounded(phrases: Iterable[str]) -> Iterator[str]:
    """Yield the phrases, and one more than are allowed at most."""
    for _, phrase in zip(range(r.MAX_PHRASES + 1), phrases, strict=False):
        yield phrase
