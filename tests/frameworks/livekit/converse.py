"""A caller and LiveKit's `AgentSession`, with its defaults, in memory: no room, no device. Recognition, language and
speech are all here. Further arguments: whose voice (`deepgram`, `elevenlabs`), the folder of the turns.
"""

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp
from conversation import PIECE_BYTES, RATE_HZ, REPLY_TOKENS, SYSTEM, Call, Microphone, hold, keep
from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.agents.voice import io
from livekit.plugins import deepgram, elevenlabs, openai
from steps import arguments

ARGUMENTS = arguments()
VOICE, CALL = sys.argv[4], Call.of(sys.argv[5])


class Ear(io.AudioInput):
    """The caller's line, as a room's track would be."""

    def __init__(self, microphone: Microphone) -> None:
        super().__init__(label="memory")
        self._pieces = microphone.pieces()

    async def __anext__(self) -> rtc.AudioFrame:
        piece = await anext(self._pieces)
        return rtc.AudioFrame(piece, RATE_HZ, 1, PIECE_BYTES // 2)


class Mouth(io.AudioOutput):
    """Plays what it is given in real time: into a list, a reply after the other."""

    def __init__(self) -> None:
        super().__init__(label="memory", capabilities=io.AudioOutputCapabilities(pause=False))
        self.begun = self.cut = 0
        self.speaking = False
        self.replies: list[dict[str, Any]] = []
        self._pcm = bytearray()
        self._rate_hz = 0
        self._began = 0.0
        self._playing: asyncio.TimerHandle | None = None

    @property
    def _given_s(self) -> float:
        return len(self._pcm) / 2 / self._rate_hz

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._pcm:
            self.begun += 1
            self.speaking = True
            self._rate_hz, self._began = frame.sample_rate, time.monotonic()
            self.on_playback_started(created_at=time.time())
        self._pcm += bytes(frame.data)

    def flush(self) -> None:
        super().flush()
        if self._pcm:
            left_s = self._began + self._given_s - time.monotonic()
            self._playing = asyncio.get_running_loop().call_later(max(0.0, left_s), self._end, False)

    def clear_buffer(self) -> None:
        if self._playing:
            self._playing.cancel()
        if self._pcm:
            self._end(True)

    def _end(self, interrupted: bool) -> None:
        played_s = min(self._given_s, time.monotonic() - self._began)
        pcm = bytes(self._pcm)[: round(played_s * self._rate_hz) * 2] if interrupted else bytes(self._pcm)
        path = keep(CALL, len(self.replies), pcm, self._rate_hz)
        self.replies.append({"path": path, "interrupted": interrupted})
        self._pcm.clear()
        self._playing = None
        self.speaking = False
        self.cut += interrupted
        self.on_playback_finished(playback_position=played_s, interrupted=interrupted)


def voice(session: aiohttp.ClientSession) -> Any:
    if VOICE == "elevenlabs":
        return elevenlabs.TTS(base_url=ARGUMENTS.openai_url, api_key=ARGUMENTS.key, http_session=session)
    return deepgram.TTS(base_url=f"{ARGUMENTS.openai_url}/speak", api_key=ARGUMENTS.key, http_session=session)


async def main() -> None:
    told: dict[str, Any] = {"user": [], "assistant": [], "errors": []}
    microphone, mouth = Microphone(), Mouth()
    async with aiohttp.ClientSession() as http:
        session: AgentSession[None] = AgentSession(
            stt=deepgram.STT(base_url=f"{ARGUMENTS.openai_url}/listen", api_key=ARGUMENTS.key, http_session=http),
            llm=openai.LLM(
                model="gpt-4o-mini",
                base_url=ARGUMENTS.openai_url,
                api_key=ARGUMENTS.key,
                max_completion_tokens=REPLY_TOKENS,
            ),
            tts=voice(http),
            aec_warmup_duration=None,  # there is no echo, so a caller may break in at once, as on a telephone
        )

        @session.on("conversation_item_added")
        def added(event: Any) -> None:
            item = event.item
            if item.type == "message":
                told[item.role].append({"text": item.text_content, "interrupted": item.interrupted})

        @session.on("error")
        def failed(event: Any) -> None:
            told["errors"].append(repr(event.error))

        session.input.audio = Ear(microphone)
        session.output.audio = mouth
        await session.start(Agent(instructions=SYSTEM))
        try:
            await hold(CALL, microphone, mouth)
        except TimeoutError as error:
            told["errors"].append(str(error))
        await session.aclose()
        microphone.close()
    told["replies"] = mouth.replies
    print(json.dumps(told), flush=True)


asyncio.run(main())
