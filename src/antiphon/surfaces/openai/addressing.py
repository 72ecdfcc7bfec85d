"""Azure's addresses of the same API.

`/openai/v1/...` is `/v1/...` under another prefix. `/openai/deployments/{deployment}/...` names the model in the path,
whatever the body says, and `/openai/...` is what Azure has beside deployments. Under `/openai/` an `api-version` may
stand in the query; each of them means the API as it is here. No other parameter belongs in an URL.
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
    """The model that the path names, if it names one. Raises `CallerError` for what does not belong in the query."""
    for name, value in opening.query:
        if name != "api-version" or not opening.path.startswith(PREFIX):
            raise UnsupportedParameter("Parameters belong in the body, not in the URL.", param=name)
        if not _VERSION.fullmatch(value):
            raise CallerError("'api-version' must be a date such as 2024-10-21.", param=name)
    deployed = _DEPLOYMENT.fullmatch(opening.path)
    return deployed and deployed[1]


def model_of(opening: Opening, named: str | None) -> str:
    """The model that is asked for; `named` is the body's. Raises `CallerError` if there is none."""
    model = deployment(opening) or named
    if not model:
        raise CallerError("you must provide a model parameter", param="model")
    return model
