"""What a caller can send at worst: AssemblyAI's stream answers it in its own shape, and with few messages."""

import json

from antiphon.core.events import Opened
from antiphon.core.wire import Opening
from antiphon.surfaces.assemblyai.live import StreamEndpoint
from antiphon.surfaces.assemblyai.parameters import MAX_UNKNOWN


def test_of_many_unknown_fields_a_few_are_named() -> None:
    stream = StreamEndpoint().negotiate(Opening("GET", "/v3/ws")).surface
    stream.emit(Opened("model"), 0)
    fields = {f"field{number}": 1 for number in range(10_000)}
    step = stream.receive(json.dumps({"type": "UpdateConfiguration", **fields, "mode": "max"}), 0)
    warnings = [json.loads(message)["warning"] for message in step.sends]
    assert len(warnings) == MAX_UNKNOWN + 1
    assert warnings[0].startswith("`mode` ")
