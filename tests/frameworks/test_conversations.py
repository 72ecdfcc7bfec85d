"""LiveKit's `AgentSession` and a Pipecat pipeline hold a spoken conversation of ten turns, two of them into the agent's
reply, with recognition, language and speech all here. Nothing that was said is lost, on either side.
"""

import os
import wave
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from antiphon.bench import measure
from serving import Server

TURNS = (
    "Hello, who are you?",
    "What is the capital of France?",
    "Please tell me a long story about the sea.",
    "Stop, I would rather hear about the mountains.",
    "How many days are there in a week?",
    "What colour is the sky in the morning?",
    "Tell me everything you know about gardens.",
    "Wait, which flowers grow in spring?",
    "Can you say something about music?",
    "Thank you very much, and good night.",
)
BARGED = 2
GAP_LETTERS = 4  # a recogniser takes "France is" for "Francis", and swallows an article
ALIKE = 0.8


@pytest.fixture(scope="module")
def openai(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.base_url}/v1", api_key=server.api_key) as client:
        yield client


@pytest.fixture(scope="module")
def said(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the caller's turns, spoken by the embedded voice: 16 kHz mono WAV."""
    folder = tmp_path_factory.mktemp("turns")
    form = {"model": "aura-2-thalia-en", "encoding": "linear16", "sample_rate": 16_000, "container": "none"}
    headers = {"authorization": f"Token {server.api_key}"}
    with httpx.Client(base_url=server.base_url, headers=headers, timeout=60) as client:
        for number, text in enumerate(TURNS):
            spoken = client.post("/v1/speak", params=form, json={"text": text}).raise_for_status().content
            with wave.open(str(folder / f"turn-{number:02d}.wav"), "wb") as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes(spoken)
    return folder


def heard(client: OpenAI, path: Path) -> str:
    with path.open("rb") as file:
        return client.audio.transcriptions.create(model="whisper-1", file=file).text


def words(text: str) -> list[str]:
    """With numbers in letters. A stretch that follows on itself, whole or begun, stands once: a small model says it
    again and again until it is cut off, and the recogniser takes it for a loop of its own.
    """
    had: list[str] = []
    again: list[str] = []  # the last stretch that was said twice
    for word in measure.words(text):
        had.append(word)
        for long in range(1, len(had) // 2 + 1):
            if had[-long:] == had[-2 * long : -long]:
                again = had[-long:]
                del had[-long:]
                break
    for begun in range(len(again) - 1, 0, -1):
        if had[-begun:] == again[:begun] and had[-begun - len(again) : -begun] == again:
            return had[:-begun]
    return had


def assert_whole(said: str, heard: str) -> None:
    """No stretch of `said` is missing in `heard`, whatever single words were taken for."""
    wanted, had = words(said), words(heard)
    for _, start, end, had_start, had_end in SequenceMatcher(None, wanted, had, autojunk=False).get_opcodes():
        missing = len("".join(wanted[start:end])) - len("".join(had[had_start:had_end]))
        assert missing <= GAP_LETTERS, (wanted[start:end], had[had_start:had_end], said, heard)
    assert SequenceMatcher(None, "".join(wanted), "".join(had), autojunk=False).ratio() > ALIKE, (said, heard)


@pytest.mark.skipif("ANTIPHON_FRAMEWORKS" not in os.environ, reason="run by make test-frameworks")
@pytest.mark.parametrize("voice", ["deepgram", "elevenlabs"])
@pytest.mark.parametrize("name", ["livekit", "pipecat"])
def test_ten_turns_of_which_two_barge_in(
    name: str, voice: str, run: Callable[..., dict[str, Any]], said: Path, openai: OpenAI
) -> None:
    told = run(name, "converse", voice, str(said))
    assert told["errors"] == []
    assert_whole(
        " ".join(heard(openai, path) for path in sorted(said.glob("turn-*.wav"))),
        " ".join(turn["text"] for turn in told["user"]),
    )
    replies = list(zip(told["assistant"], told["replies"], strict=True))
    assert sum(reply["interrupted"] for reply in told["replies"]) >= BARGED
    assert len(replies) >= len(TURNS)
    for written, spoken in replies:
        if not spoken["interrupted"]:
            assert_whole(written["text"], heard(openai, Path(spoken["path"])))
