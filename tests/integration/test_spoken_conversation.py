"""Spoken conversations on the real models: the caller speaks with the server's own voice, in real time."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.app import House, assemble
from antiphon.config import load
from antiphon.core.audio import AudioFormat, Encoding, SpeechFormat
from antiphon.core.call import Call
from antiphon.core.conversation.inputs import AppendAudio, ReadItem
from antiphon.core.conversation.outputs import (
    ConversationOutput,
    Ending,
    ItemRead,
    ItemTruncated,
    OutputSpeech,
    OutputText,
    ResponseEnded,
    TranscriptionDone,
    TurnStarted,
)
from antiphon.core.conversation.spec import ConverseSpec, Eagerness, Transcription, Turns
from antiphon.core.events import Failed, Spoken
from antiphon.core.identity import Principal
from antiphon.core.specs import Sampling, SpeakSpec
from antiphon.core.text import plain
from antiphon.models import Store

KEY = "integration-test-key"
CHUNK_MS, BYTES_PER_MS = 20, 32
QUESTION = "What is the capital of France?"
SPEC = ConverseSpec(
    model="smollm2-135m-instruct",
    instructions="Answer in two or three sentences.",
    input_format=AudioFormat(Encoding.LINEAR16, 16_000),
    output_format=SpeechFormat(sample_rate=16_000),
    transcription=Transcription(),
    turns=Turns(silence_ms=300),
    sampling=Sampling(max_tokens=80, temperature=0),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Path:
    path: Path = tmp_path_factory.mktemp("data")
    (path / "models").symlink_to(models.root)
    return path


@pytest.fixture
async def house(directory: Path) -> AsyncIterator[House]:
    config = load(None, {"ANTIPHON_DATA_DIR": str(directory), "ANTIPHON_API_KEY": KEY})
    async with assemble(config) as house:
        yield house


class Caller:
    """Speaks in real time, and notes what is said to it."""

    def __init__(self, house: House, spec: ConverseSpec) -> None:
        self.house = house
        self.principal: Principal = house.sessions._keys.authenticate(KEY, None)
        self.conversation = house.sessions.converse(Call(str(uuid.uuid4()), self.principal, "openai", spec))
        self.told: list[ConversationOutput] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for batch in self.conversation.events():
            self.told += batch

    async def voice(self, text: str) -> bytes:
        """The server's own."""
        spec = SpeakSpec(
            self.house.sessions.voices().models()[0].name, text=text, format=SpeechFormat(sample_rate=16_000)
        )
        speaking = self.house.sessions.speak(Call(str(uuid.uuid4()), self.principal, "openai", spec))
        audio = b"".join([e.audio async for batch in speaking.events() for e in batch if isinstance(e, Spoken)])
        await speaking.close(delivered=True)
        return audio

    async def says(self, pcm: bytes, silent_ms: int = 0, until: type[ConversationOutput] | None = None) -> None:
        """So much, then silence; no more of either once that comes."""
        seen, begun, sent_ms = len(self.told), time.monotonic(), 0
        pcm += bytes(silent_ms * BYTES_PER_MS)
        for at in range(0, len(pcm), CHUNK_MS * BYTES_PER_MS):
            await self.conversation.feed(AppendAudio(pcm[at : at + CHUNK_MS * BYTES_PER_MS]))
            sent_ms += CHUNK_MS
            await asyncio.sleep(max(0.0, begun + sent_ms / 1000 - time.monotonic()))
            if until is not None and any(isinstance(event, until) for event in self.told[seen:]):
                return

    def all(self, kind: type) -> list:
        return [event for event in self.told if isinstance(event, kind)]

    async def leaves(self) -> None:
        await self.conversation.close(delivered=False)
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        assert not self.all(Failed)


@pytest.mark.long
@pytest.mark.parametrize("turns", [Turns(silence_ms=300), Turns(eagerness=Eagerness.HIGH)])
async def test_a_spoken_question_is_answered_aloud_and_the_answer_can_be_interrupted(
    house: House, turns: Turns
) -> None:
    caller = Caller(house, replace(SPEC, turns=turns))
    question, stop = await caller.voice(QUESTION), await caller.voice("Wait, please stop talking now.")
    await caller.says(question, 8000, until=OutputSpeech)
    assert plain(caller.all(TranscriptionDone)[0].transcript.text) == plain(QUESTION)
    await caller.says(b"", 1000)
    await caller.says(stop, 0, until=TurnStarted)
    await caller.says(b"", 200)
    if not caller.all(ItemTruncated):  # the answer was shorter than that, or no more had been spoken yet
        assert caller.all(ResponseEnded)[0].ending in (Ending.COMPLETED, Ending.INTERRUPTED)
    else:
        (cut,) = caller.all(ItemTruncated)
        assert 500 < cut.end_ms < 3000
        await caller.conversation.feed(ReadItem(cut.item_id))
        await caller.says(b"", 100)
        heard = caller.all(ItemRead)[0].item.parts[0].transcript
        written = "".join(e.text for e in caller.all(OutputText) if e.item_id == cut.item_id)
        assert written.startswith(heard)
        assert 0 < len(heard) < len(written)
    await caller.leaves()
