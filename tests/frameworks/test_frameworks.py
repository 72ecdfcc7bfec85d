"""What a user of each framework does first, with the framework's defaults: only the address and the key are set."""

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

VECTOR = 384


def texts(told: Any) -> bool:
    return len(told) == 2 and all(text.strip() for text in told)


# By the last word of a step's name.
CHECKS: dict[str, Callable[[Any], bool]] = {
    "chat": lambda told: bool(told["text"].strip()) and told["tokens"] > 0,
    "streamed": lambda told: len(told) > 3 and bool("".join(told).strip()),
    "tools": lambda told: (
        told["results"] in (["It is sunny in Paris."], ["It is sunny in Rome."]) and bool(told["text"])
    ),
    "turns": texts,
    "structured": lambda told: told["name"] in ("apple", "banana") and isinstance(told["ripe"], bool),
    "embeddings": lambda told: len(told) > 1 and set(told) == {VECTOR},
    "transcription": lambda told: "ever tried" in told.lower() and "try again" in told.lower(),
    "calls": lambda told: told in (["Paris"], ["Rome"]),
    "speech": lambda told: told > 5_000,
}
LANGUAGE = ("chat", "streamed", "tools", "turns", "structured")
LANGCHAIN = ("chat", "streamed", "tools", "structured", "responses_turns", "responses_streamed", "embeddings")
NODE, HEAVY = ("ai-sdk", "langchain-js"), ("langchain", "litellm", "livekit", "pipecat")
LONG = ("ai-sdk",)
STEPS: dict[str, tuple[str, ...]] = {
    "ai-sdk": (
        *(f"{way}_{step}" for way in ("responses", "unstored", "chat", "compatible") for step in LANGUAGE),
        *("openai_embeddings", "compatible_embeddings"),
        *("openai_transcription", "openai_newer_transcription", "deepgram_transcription"),
        *("openai_speech", "deepgram_speech", "elevenlabs_speech"),
    ),
    "langchain": LANGCHAIN,
    "langchain-js": LANGCHAIN,
    "litellm": (
        *("chat", "streamed", "tools", "structured", "responses_chat", "embeddings", "transcription", "speech"),
    ),
    "instructor": (
        *("structured", "async_structured", "schema_structured", "responses_structured"),
        *("streamed_structured", "counted_structured"),
    ),
    "livekit": (
        *("chat", "responses_chat", "tools"),
        *("openai_transcription", "openai_live_transcription", "openai_whisper_live_transcription"),
        *("deepgram_transcription", "deepgram_live_transcription", "flux_live_transcription"),
        *("openai_speech", "deepgram_speech", "deepgram_live_speech"),
        *("elevenlabs_speech", "elevenlabs_live_speech", "elevenlabs_v3_speech", "realtime_speech"),
    ),
    "pipecat": (
        *("streamed", "responses_streamed", "calls"),
        *("openai_transcription", "openai_live_transcription"),
        *("deepgram_live_transcription", "flux_live_transcription"),
        *("openai_speech", "deepgram_live_speech", "elevenlabs_live_speech"),
    ),
}


def marks(name: str) -> list[Any]:
    made = []
    if name in NODE:
        missing = not (shutil.which("npm") and shutil.which("node"))
        made.append(pytest.mark.skipif(missing, reason="needs node and npm"))
    if name in HEAVY:
        made.append(pytest.mark.skipif("ANTIPHON_FRAMEWORKS" not in os.environ, reason="run by make test-frameworks"))
    if name in LONG:
        made.append(pytest.mark.long)
    return made


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in STEPS])
def test_all_that_it_does(name: str, run: Callable[..., dict[str, Any]]) -> None:
    """One test for a framework, so that one worker installs it."""
    told = run(name)
    assert set(told) >= set(STEPS[name])
    assert [(step, told[step]) for step in STEPS[name] if not came(step, told[step])] == []


def came(step: str, told: Any) -> bool:
    """Whether what a step came to is what it should be."""
    failed = isinstance(told, dict) and "error" in told
    return not failed and CHECKS[step.rpartition("_")[2]](told)
