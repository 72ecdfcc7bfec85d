"""Names of resources (AIP-122), and tokens of pages (AIP-158). Any project and location may be named: whose a resource
is, the key says.
"""

import re
from base64 import b64decode, urlsafe_b64encode

from antiphon.core.errors import CallerError

_PARENT = r"projects/[^/]{1,100}/locations/[^/]{1,63}"
PARENT = re.compile(_PARENT)
RECOGNIZER = re.compile(rf"({_PARENT})/recognizers/([^/]{{1,63}})")
RECOGNIZER_ID = re.compile(r"[a-z][a-z0-9-]{2,61}[a-z0-9]")
OPERATION = re.compile(rf"{_PARENT}/operations/[^/]{{1,64}}")
FIRST_OPERATION = re.compile(r"[0-9]{1,20}")  # of the first version
IMPLICIT = "_"  # the recognizer that is not stored


def parent(name: str, param: str = "parent") -> str:
    """A project and location. Raises `CallerError`."""
    if PARENT.fullmatch(name) is None:
        raise CallerError(f"`{param}` must be projects/PROJECT/locations/LOCATION.", param=param)
    return name


def recognizer(name: str, param: str = "recognizer") -> tuple[str, str]:
    """Its project and location, and its id. Raises `CallerError`."""
    match = RECOGNIZER.fullmatch(name)
    if match is None:
        said = f"`{param}` must be projects/PROJECT/locations/LOCATION/recognizers/RECOGNIZER."
        raise CallerError(said, param=param)
    return match[1], match[2]


def stored(name: str) -> str:
    """The same name, or none where it is the implicit recognizer's. Raises `CallerError`."""
    return "" if recognizer(name)[1] == IMPLICIT else name


def page_token(last: str) -> str:
    """That goes on after this name."""
    return urlsafe_b64encode(last.encode()).decode()


def after(token: str) -> str:
    """The name after which a page begins. Raises `CallerError`."""
    try:
        return b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise CallerError("`page_token` is not one that was given out.", param="page_token") from None


def page_size(asked: int, usual: int, most: int) -> int:
    """Raises `CallerError`."""
    if asked < 0:
        raise CallerError("`page_size` must not be negative.", param="page_size")
    return min(asked or usual, most)
