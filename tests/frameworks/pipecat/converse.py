"""A caller and a Pipecat pipeline, with its defaults, in memory: no room, no device. Recognition, language and speech
are all here. Further arguments: whose voice (`deepgram`, `elevenlabs`), the folder of the turns.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from conversation import RATE_HZ, REPLY_TOKENS, SYSTEM, Call, Microphone, hold, keep
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    OutputAudioRawFrame,
    StartFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.deepgram.tts import DeepgramTTSService
from pipecat.services.elevenlabs.tts import ElevenLabsTTSService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner
from steps import arguments

ARGUMENTS = arguments()
VOICE, CALL = sys.argv[4], Call.of(sys.argv[5])
PARAMS = TransportParams(audio_in_enabled=True, audio_out_enabled=True)
# ElevenLabs' service has no voice of its own; this one is the first of ElevenLabs' examples.
ELEVENLABS_VOICE = "21m00Tcm4TlvDq8ikWAM"


@dataclass
class Reply:
    text: str = ""
    pcm: bytearray = field(default_factory=bytearray)
    begun: bool = False
    interrupted: bool = False


@dataclass
class Heard:
    """What comes of the pipeline: `replies` as the model began them; the last one is what is spoken."""

    replies: list[Reply] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    begun: int = 0
    cut: int = 0
    speaking: bool = False
    rate_hz: int = 0


class Ear(BaseInputTransport):
    def __init__(self, microphone: Microphone) -> None:
        super().__init__(PARAMS)
        self._microphone = microphone

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self.create_task(self._listen())

    async def _listen(self) -> None:
        async for piece in self._microphone.pieces():
            await self.push_audio_frame(InputAudioRawFrame(audio=piece, sample_rate=RATE_HZ, num_channels=1))


class Mouth(BaseOutputTransport):
    """Plays in real time, into the reply that is being spoken."""

    def __init__(self, heard: Heard) -> None:
        super().__init__(PARAMS)
        self._heard = heard
        self._due = 0.0

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        self._heard.rate_hz = frame.sample_rate
        self._heard.replies[-1].pcm += frame.audio
        self._due = max(self._due, time.monotonic()) + len(frame.audio) / 2 / frame.sample_rate
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))
        return True


class Watch(FrameProcessor):
    """Lets all frames pass, and shows `see` those that go to the caller."""

    def __init__(self, see: Callable[[Frame], None]) -> None:
        super().__init__()
        self._see = see

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            self._see(frame)
        await self.push_frame(frame, direction)


def written(heard: Heard, frame: Frame) -> None:
    """Behind the model: what it writes."""
    if isinstance(frame, LLMFullResponseStartFrame):
        heard.replies.append(Reply())
    elif isinstance(frame, LLMTextFrame):
        heard.replies[-1].text += frame.text


def spoken(heard: Heard, frame: Frame) -> None:
    """Behind the output: what becomes of the speech."""
    if isinstance(frame, BotStartedSpeakingFrame):
        heard.speaking = True
        heard.begun += not heard.replies[-1].begun  # one that the voice pauses in begins to be spoken again
        heard.replies[-1].begun = True
    elif isinstance(frame, InterruptionFrame) and heard.speaking:
        heard.replies[-1].interrupted = True
        heard.cut += 1
        heard.speaking = False
    elif isinstance(frame, BotStoppedSpeakingFrame):
        heard.speaking = False


def voice() -> Any:
    if VOICE == "elevenlabs":
        settings = ElevenLabsTTSService.Settings(voice=ELEVENLABS_VOICE)
        return ElevenLabsTTSService(api_key=ARGUMENTS.key, url=ARGUMENTS.ws_url, settings=settings)
    return DeepgramTTSService(api_key=ARGUMENTS.key, base_url=ARGUMENTS.ws_url)


async def main() -> None:
    microphone, heard = Microphone(), Heard()
    context = LLMContext([{"role": "system", "content": SYSTEM}])
    aggregators = LLMContextAggregatorPair(
        context, user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    settings = OpenAILLMService.Settings(model="gpt-4o-mini", max_completion_tokens=REPLY_TOKENS)
    pipeline = Pipeline(
        [
            Ear(microphone),
            DeepgramSTTService(api_key=ARGUMENTS.key, base_url=ARGUMENTS.ws_url),
            aggregators.user(),
            OpenAILLMService(base_url=ARGUMENTS.openai_url, api_key=ARGUMENTS.key, settings=settings),
            Watch(partial(written, heard)),
            voice(),
            Mouth(heard),
            Watch(partial(spoken, heard)),
            aggregators.assistant(),
        ]
    )
    worker = PipelineWorker(pipeline)
    ready = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def started(*_: Any) -> None:
        ready.set()

    @worker.event_handler("on_pipeline_error")
    async def failed(_: Any, frame: ErrorFrame) -> None:
        heard.errors.append(frame.error)

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await ready.wait()
    try:
        await hold(CALL, microphone, heard)
    except TimeoutError as error:
        heard.errors.append(str(error))
    await runner.cancel()
    microphone.close()
    await running
    replies = [reply for reply in heard.replies if reply.pcm]
    told = {
        "errors": heard.errors,
        "user": [{"text": item["content"]} for item in context.get_messages() if item["role"] == "user"],
        "assistant": [{"text": reply.text, "interrupted": reply.interrupted} for reply in replies],
        "remembered": [{"text": item["content"]} for item in context.get_messages() if item["role"] == "assistant"],
        "replies": [
            {"path": keep(CALL, number, bytes(reply.pcm), heard.rate_hz), "interrupted": reply.interrupted}
            for number, reply in enumerate(replies)
        ],
    }
    print(json.dumps(told), flush=True)


asyncio.run(main())
