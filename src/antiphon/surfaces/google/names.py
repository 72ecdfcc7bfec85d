"""Names of resources (AIP-122) and page tokens (AIP-158). Any project and location may be named: the key determines who
owns a resource.
"""

import re
from base64 import b64decode, urlsafe_b64encode

from antiphon.core.errors import CallerError

_PARENT = r"projects/[^/]{1,100}/locations/[^/]{1,63}"
PARENT = re.compile(_PARENT)
RECOGNIZER = re.compile(rf"({_PARENT})/recognizers/([^/]{{1,63}})")
RESOURCE_ID = re.compile(r"[a-z][a-z0-9-]{2,61}[a-z0-9]")
FIRST_ID = re.compile(r"[A-Za-z][A-Za-z0-9-]{2,61}[A-Za-z0-9]")  # of v1
OPERATION = re.compile(rf"{_PARENT}/operations/[^/]{{1,64}}")
FIRST_OPERATION = re.compile(r"[0-9]{1,20}")  # of v1
IMPLICIT = "_"  # the recognizer that is not stored


def parent(name: str, param: str = "parent") -> str:
    """Return the name of a project and location. Raises `CallerError` if it is invalid."""
    if PARENT.fullmatch(name) is None:
        raise CallerError(f"`{param}` must be projects/PROJECT/locations/LOCATION.", param=param)
    return name


def recognizer(name: str, param: str = "recognizer") -> tuple[str, str]:
    """Return a recognizer's project and location, and its id. Raises `CallerError` if the name is invalid."""
    match = RECOGNIZER.fullmatch(name)
    if match is None:
        reason = f"`{param}` must be projects/PROJECT/locations/LOCATION/recognizers/RECOGNIZER."
        raise CallerError(reason, param=param)
    return match[1], match[2]


def resource(name: str, collection: str, param: str = "name") -> tuple[str, str]:
    """Return the name of a stored resource of that collection, and its project and location. Raises `CallerError` if it
    is invalid, or that of the implicit recognizer.
    """
    match = re.fullmatch(rf"({_PARENT})/{collection}/([^/]{{1,63}})", name)
    if match is None:
        reason = f"`{param}` must be projects/PROJECT/locations/LOCATION/{collection}/ID."
        raise CallerError(reason, param=param)
    if match[2] == IMPLICIT and collection == "recognizers":
        raise CallerError("The implicit recognizer is not stored.", param=param)
    return name, match[1]


def stored(name: str) -> str:
    """Return the name, empty for the implicit recognizer. Raises `CallerError` if the name is invalid."""
    return "" if recognizer(name)[1] == IMPLICIT else name


def page_token(last: str) -> str:
    """Return the token of the page that begins after this name."""
    return urlsafe_b64encode(last.encode()).decode()


def after(token: str) -> str:
    """Return the name after which a page begins. Raises `CallerError` if the token is invalid."""
    try:
        return b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise CallerError("`page_token` is not one that was given out.", param="page_token") from None


def page_size(size: int, usual: int, most: int) -> int:
    """Return the page size, at most `most`, `usual` by default. Raises `CallerError` if it is negative."""
    if size < 0:
        raise CallerError("`page_size` must not be negative.", param="page_size")
    return min(size or usual, most)
