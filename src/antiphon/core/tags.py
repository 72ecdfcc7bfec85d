"""A caller's tags of a call: texts, or `name=value`, by which usage is found. Two names have a meaning on all surfaces:
`subject` is the person whom the call is about, and `consent` says what that person agreed to.

A surface takes tags where its vendor has a place for them. On every path they may also come in the header, or the query
parameter, `antiphon-tags`: separated by commas, values percent-encoded.
"""

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import unquote

from antiphon.core.errors import CallerError
from antiphon.core.wire import Opening

NAME = "antiphon-tags"
SUBJECT, CONSENT = "subject", "consent"
MAX_SENT = 8  # tags in the header
MAX_CHARS = 256  # of one tag


def take_tags(opening: Opening) -> tuple[Opening, tuple[str, ...]]:
    """Return the tags of header and query, and the opening without them in its query, which surfaces may check. Raises
    `CallerError`.
    """
    if not opening.query and NAME not in opening.headers:
        return opening, ()
    sent = [value for name, value in opening.query if name == NAME]
    if sent:
        opening = replace(opening, query=tuple(pair for pair in opening.query if pair[0] != NAME))
    if NAME in opening.headers:
        sent.append(opening.headers[NAME])
    tags = tuple(unquote(tag.strip()) for text in sent for tag in text.split(",") if tag.strip())
    if len(tags) > MAX_SENT:
        raise CallerError(f"At most {MAX_SENT} tags can be sent in '{NAME}'.", param=NAME)
    if any(len(tag) > MAX_CHARS or not tag.isprintable() for tag in tags):
        raise CallerError(f"A tag has at most {MAX_CHARS} characters, all printable.", param=NAME)
    return opening, tags


def value_of(tags: Iterable[str], name: str) -> str:
    """Return the value of the first tag with this name; empty if there is none."""
    begins = f"{name}="
    return next((tag.removeprefix(begins) for tag in tags if tag.startswith(begins)), "")


def without_subject(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags for the ledger, which never says whom an entry is about."""
    return tuple(tag for tag in tags if not tag.startswith(f"{SUBJECT}="))
