"""What the grammar can enforce of a JSON schema."""

import json

from antiphon.core.errors import CallerError


def enforceable(schema: str, strict: bool, param: str) -> object:
    """The schema for the grammar. Raises `CallerError` with `param` for one that is none."""
    try:
        parsed = json.loads(schema)
    except ValueError:
        raise CallerError("The schema is not JSON.", param=param) from None
    if not isinstance(parsed, dict):
        raise CallerError("The schema is not an object.", param=param)
    return parsed
