"""References from calls to a stored recognizer, whose configuration is the default of theirs."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from antiphon.core.endpoints import NeedsResource
from antiphon.core.errors import NotFound
from antiphon.core.resources import Resource
from antiphon.surfaces.google import messages, v2
from antiphon.surfaces.google.adaptation import adapted

KIND = "google.recognizer"  # of resources
RECOGNIZER = f"{v2.PACKAGE}.Recognizer"

T = TypeVar("T")


def referring(stored: str, configs: Sequence[Any], go_on: Callable[[Any], T]) -> T | NeedsResource[T]:
    """Return what `go_on` makes of the configuration of the stored recognizer, or of `None` for the implicit one, once
    what that and the request's own `configs` refer to is inline.
    """
    if not stored:
        return adapted(configs, lambda: go_on(None))

    def based(resource: Resource) -> T | NeedsResource[T]:
        base = configuration(resource)
        return adapted((base, *configs), lambda: go_on(base))

    return NeedsResource(KIND, stored, based)


def configuration(resource: Resource) -> Any:
    """Return the recognizer's configuration. `model` and `language_codes` of the recognizer itself, which older clients
    set, are its defaults. Raises `NotFound` if it was deleted.
    """
    if resource.deleted:
        raise NotFound(f"{resource.name!r} was deleted.", param="recognizer")
    recognizer = messages.read(RECOGNIZER, resource.body)
    config = recognizer.default_recognition_config
    config.model = config.model or recognizer.model
    if not config.language_codes:
        config.language_codes.extend(recognizer.language_codes)
    return config
