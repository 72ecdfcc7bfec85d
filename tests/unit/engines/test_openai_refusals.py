"""What a server says when it refuses, and how much of that a caller is told."""

import time

from antiphon.core.errors import ContextLengthExceeded
from antiphon.engines.openai_compatible.refusals import refusal

TOO_LONG = b'{"error":{"message":"The context length is 2048 tokens, and you sent a few more than that."}}'


def test_a_long_input_is_compared_and_a_very_long_one_is_not_repeated() -> None:
    assert "2048 tokens" in refusal(400, TOO_LONG, ["word " * 10_000]).message
    begun = time.process_time()
    refused = refusal(400, TOO_LONG, ["word " * 4_000_000])
    assert time.process_time() - begun < 0.3
    assert isinstance(refused, ContextLengthExceeded)
    assert refused.message == "This model's maximum context length is exceeded."
