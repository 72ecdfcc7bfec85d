"""Azure's addresses of the same API.

`/openai/v1/...` is `/v1/...` under another prefix. `/openai/deployments/{deployment}/...` names the model in the path,
whatever the body says; `/openai/...` are Azure's paths without a deployment. Under `/openai/` the query may have an
`api-version`, whose value changes nothing. No other query parameter is allowed.
"""

import re

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.wire import Opening

PREFIX = "/openai/"
_DEPLOYMENT = re.compile(
    r"/openai/deployments/(.+?)/(?:chat/completions|completions|embeddings|audio/transcriptions|audio/speech)"
)
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?|v1|latest|preview")


def deployment(opening: Opening) -> str | None:
    """Return the model in the path, or `None`. Raises `CallerError` for other parameters in the query."""
    for name, value in opening.query:
        if name != "api-version" or not opening.path.startswith(PREFIX):
            raise UnsupportedParameter("Parameters belong in the body, not in the URL.", param=name)
        if not _VERSION.fullmatch(value):
            raise CallerError("'api-version' must be a date such as 2024-10-21.", param=name)
    deployed = _DEPLOYMENT.fullmatch(opening.path)
    return deployed and deployed[1]


def model_of(opening: Opening, named: str | None) -> str:
    """Return the requested model; `named` is the body's. Raises `CallerError` if there is none."""
    model = deployment(opening) or named
    if not model:
        raise CallerError("you must provide a model parameter", param="model")
    return model
