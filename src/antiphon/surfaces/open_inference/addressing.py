"""The model and the version in a path: `/v2/models/{name}[/versions/{version}][/infer|/ready]`."""

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
    """The parts of a path. `act` is `infer`, `ready`, or empty for a model's description."""

    model: str
    version: str
    act: str


def address_of(opening: Opening) -> Address:
    """Return the parts of the path. Raises `NotFound` for any other path, also those of other servers (Triton's
    `config` and `stats`), `UnsupportedParameter` for a parameter in the URL.
    """
    if opening.query:
        raise UnsupportedParameter("Parameters in the URL are not supported.", param=opening.query[0][0])
    found = _PATH.fullmatch(opening.path)
    if found is None:
        raise NotFound("Path not found.")
    if found["act"] in _OTHERS:
        raise NotFound(f"Models have no '/{found['act']}'; the model's own path describes it.")
    return Address(found["model"], found["version"] or "", found["act"] or "")
