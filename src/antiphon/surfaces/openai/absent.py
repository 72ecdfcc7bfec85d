"""OpenAI's paths without an endpoint here that would match another path, and get its 405."""

from antiphon.core.errors import NotFound
from antiphon.core.wire import Opening, Step
from antiphon.surfaces.openai.wire import Endpoint

MAX_SHOWN = 256  # of a path that the caller made up


class Absent(Endpoint):
    """An endpoint that answers 404."""

    def ask(self, opening: Opening, body: bytes) -> Step:
        raise NotFound(f"Invalid URL ({opening.method} {opening.path[:MAX_SHOWN]})")
