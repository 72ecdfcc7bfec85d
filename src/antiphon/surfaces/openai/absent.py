"""What OpenAI has and this server has not, where it would be taken for another path with a method too many."""

from antiphon.core.errors import NotFound
from antiphon.core.wire import Opening, Step
from antiphon.surfaces.openai.wire import Endpoint

MAX_SHOWN = 256  # of a path that the caller made up


class Absent(Endpoint):
    """Is not here."""

    def ask(self, opening: Opening, body: bytes) -> Step:
        raise NotFound(f"Invalid URL ({opening.method} {opening.path[:MAX_SHOWN]})")
