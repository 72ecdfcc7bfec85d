"""References from calls to a stored recognizer, whose configuration is the default of theirs."""

from collections.abc import Callable
from typing import Any, TypeVar

from antiphon.core.endpoints import NeedsResource
from antiphon.core.errors import NotFound
from antiphon.core.resources import Resource
from antiphon.surfaces.google import messages, v2

KIND = "google.recognizer"  # of resources
RECOGNIZER = f"{v2.PACKAGE}.Recognizer"

T = TypeVar("T")


def referring(stored: str, go_on: Callable[[Any], T]) -> T | NeedsResource[T]:
    """Return what `go_on` makes of the configuration of the stored recognizer, or of `None` for the implicit one."""
    if not stored:
        return go_on(None)
    return NeedsResource(KIND, stored, lambda resource: go_on(configuration(resource)))


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
