"""Which model, and which of its versions, a path names: `/v2/models/{name}[/versions/{version}][/infer|/ready]`."""

import re
from dataclasses import dataclass

from antiphon.core.errors import NotFound, UnsupportedParameter
from antiphon.core.wire import Opening

_PATH = re.compile(
    r"/v2/models/(?P<model>.+?)(?:/versions/(?P<version>[^/]+))?(?:/(?P<act>infer|ready|config|stats))?", re.DOTALL
)


_OTHERS = frozenset({"config", "stats"})


@dataclass(frozen=True, slots=True)
class Address:
    """`act` is `infer`, `ready`, or empty where the model is to be described."""

    model: str
    version: str
    act: str


def address_of(opening: Opening) -> Address:
    """Raises `NotFound` for a path that names no model, or something of one that only other servers have (Triton's
    `config` and `stats`), `UnsupportedParameter` for a parameter in the URL."""
    if opening.query:
        raise UnsupportedParameter("Parameters in the URL are not supported.", param=opening.query[0][0])
    found = _PATH.fullmatch(opening.path)
    if found is None:
        raise NotFound("Path not found.")
    if found["act"] in _OTHERS:
        raise NotFound(f"Models have no '/{found['act']}'; the model's own path describes it.")
    return Address(found["model"], found["version"] or "", found["act"] or "")
