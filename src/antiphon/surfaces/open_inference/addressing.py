"""Which model, and which of its versions, a path names: `/v2/models/{name}[/versions/{version}][/infer|/ready]`."""

import re
from dataclasses import dataclass

from antiphon.core.errors import NotFound, UnsupportedParameter
from antiphon.core.wire import Opening

_PATH = re.compile(r"/v2/models/(?P<model>.+?)(?:/versions/(?P<version>[^/]+))?(?:/(?P<act>infer|ready))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """`act` is `infer`, `ready`, or empty where the model is to be described."""

    model: str
    version: str
    act: str


def address_of(opening: Opening) -> Address:
    """Raises `NotFound` for a path that names no model, `UnsupportedParameter` for a parameter in the URL."""
    if opening.query:
        raise UnsupportedParameter("There are no parameters in the URL.", param=opening.query[0][0])
    found = _PATH.fullmatch(opening.path)
    if found is None:
        raise NotFound("There is nothing at this path.")
    return Address(found["model"], found["version"] or "", found["act"] or "")
