"""Deepgram's `replace` and `profanity_filter`."""

from collections.abc import Sequence

from antiphon.core.errors import CallerError
from antiphon.core.rewriting import Replacement, Rewriting, core

MAX_REPLACEMENT_CHARS = 256


def read(values: Sequence[str], masks: bool) -> Rewriting | None:
    """Return the rewriting, `None` if nothing is to be changed. `values` are those of `replace`. Raises
    `CallerError`.
    """
    replacements = []
    for value in values:
        if value.lower() == "false":
            continue
        find, _, put = value.partition(":")
        cores = tuple(filter(None, map(core, find.split())))
        if not cores or len(value) > MAX_REPLACEMENT_CHARS:
            raise CallerError(
                f"`replace` must be FIND:REPLACEMENT, {MAX_REPLACEMENT_CHARS} characters at most.", param="replace"
            )
        replacements.append(Replacement(cores, tuple(put.split())))
    return Rewriting(tuple(replacements), masks) if replacements or masks else None
