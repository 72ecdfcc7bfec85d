"""What a user of Pipecat's services does first, with their defaults: each alone in a pipeline."""

import asyncio
import wave
from collections.abc import Callable, Sequence
from typing import Any

from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.deepgram.flux.stt import DeepgramFluxSTTService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.deepgram.tts import DeepgramTTSService
from pipecat.services.elevenlabs.tts import ElevenLabsTTSService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.openai.responses.llm import OpenAIResponsesLLMService
from pipecat.services.openai.stt import OpenAIRealtimeSTTService, OpenAISTTService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.workers.runner import WorkerRunner
from steps import arguments, tell

ARGUMENTS = arguments()
HERE: dict[str, Any] = {"base_url": ARGUMENTS.openai_url, "api_key": ARGUMENTS.key}
TEXT = "It is sunny in Paris today."
PIECE_S, ENOUGH_S, QUIET_S = 0.04, 40.0, 3.0


class Collector(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            self.frames.append(frame)
        await self.push_frame(frame, direction)


async def through(service: FrameProcessor, given: Sequence[Frame], ended: Callable[[list[Frame]], bool]) -> list[Frame]:
    """What a pipeline of that service makes of `given`, where audio is given in real time. Raises its error."""
    collector, errors, ready = Collector(), [], asyncio.Event()
    worker = PipelineWorker(Pipeline([service, collector]))

    @worker.event_handler("on_pipeline_started")
    async def started(*_: Any) -> None:
        ready.set()

    @worker.event_handler("on_pipeline_error")
    async def failed(_: Any, frame: ErrorFrame) -> None:
        errors.append(frame.error)

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await ready.wait()
    for frame in given:
        await worker.queue_frame(frame)
        if isinstance(frame, InputAudioRawFrame):
            await asyncio.sleep(PIECE_S)
    waited_s = 0.0
    while not (errors or ended(collector.frames)) and waited_s < ENOUGH_S:
        await asyncio.sleep(PIECE_S)
        waited_s += PIECE_S
    await runner.cancel()
    await running
    if errors:
        raise RuntimeError(errors[0])
    return collector.frames


def said(kind: type[Frame]) -> Callable[[list[Frame]], bool]:
    return lambda frames: any(isinstance(frame, kind) for frame in frames)


async def answered(service: FrameProcessor) -> Any:
    context = LLMContext([{"role": "user", "content": "Name a colour."}])
    frames = await through(service, [LLMContextFrame(context)], said(LLMFullResponseEndFrame))
    return [frame.text for frame in frames if isinstance(frame, LLMTextFrame)]


async def streamed() -> Any:
    return await answered(OpenAILLMService(settings=OpenAILLMService.Settings(max_completion_tokens=60), **HERE))


async def responses_streamed() -> Any:
    return await answered(
        # Without a bound on its length: a response that is cut is an error to this service, whoever makes it.
        OpenAIResponsesLLMService(ws_url=f"{ARGUMENTS.ws_url}/v1/responses", **HERE)
    )


async def calls() -> Any:
    city = {"city": {"type": "string", "enum": ["Paris", "Rome"]}}
    weather = FunctionSchema("weather", "Tells the weather in a city.", city, ["city"])
    chosen: Any = {"type": "function", "function": {"name": "weather"}}
    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    service = OpenAILLMService(**HERE)
    called: list[str] = []

    async def tell_weather(call: Any) -> None:
        called.append(call.arguments["city"])
        await call.result_callback("It is sunny.")

    service.register_function("weather", tell_weather)
    context = LLMContext(asked, tools=ToolsSchema(standard_tools=[weather]), tool_choice=chosen)
    await through(service, [LLMContextFrame(context)], lambda _: bool(called))
    return called


def speech() -> list[Frame]:
    with wave.open(ARGUMENTS.audio) as file:
        rate_hz = file.getframerate()
        pcm = file.readframes(file.getnframes()) + bytes(rate_hz)
    step = round(rate_hz * PIECE_S) * 2
    return [
        VADUserStartedSpeakingFrame(),
        *(InputAudioRawFrame(pcm[i : i + step], rate_hz, 1) for i in range(0, len(pcm), step)),
        VADUserStoppedSpeakingFrame(),
    ]


async def recognised(service: FrameProcessor) -> str:
    count = [0, 0.0]

    def quiet(frames: list[Frame]) -> bool:
        """No more text for a while after the first."""
        had = sum(isinstance(frame, TranscriptionFrame) for frame in frames)
        count[1] = count[1] + PIECE_S if had == count[0] else 0.0
        count[0] = had
        return had > 0 and count[1] > QUIET_S

    frames = await through(service, speech(), quiet)
    return " ".join(frame.text for frame in frames if isinstance(frame, TranscriptionFrame))


async def openai_transcription() -> Any:
    return await recognised(OpenAISTTService(**HERE))


async def openai_live_transcription() -> Any:
    return await recognised(OpenAIRealtimeSTTService(api_key=ARGUMENTS.key, base_url=f"{ARGUMENTS.ws_url}/v1/realtime"))


async def deepgram_live_transcription() -> Any:
    return await recognised(DeepgramSTTService(api_key=ARGUMENTS.key, base_url=ARGUMENTS.ws_url))


async def flux_live_transcription() -> Any:
    return await recognised(DeepgramFluxSTTService(api_key=ARGUMENTS.key, url=f"{ARGUMENTS.ws_url}/v2/listen"))


async def spoken(service: FrameProcessor) -> int:
    frames = await through(service, [TTSSpeakFrame(TEXT)], said(TTSStoppedFrame))
    return sum(len(frame.audio) for frame in frames if isinstance(frame, TTSAudioRawFrame))


async def openai_speech() -> Any:
    return await spoken(OpenAITTSService(**HERE))


async def deepgram_live_speech() -> Any:
    return await spoken(DeepgramTTSService(api_key=ARGUMENTS.key, base_url=ARGUMENTS.ws_url))


async def elevenlabs_live_speech() -> Any:
    voice = ElevenLabsTTSService.Settings(voice="21m00Tcm4TlvDq8ikWAM")  # it has none of its own
    return await spoken(ElevenLabsTTSService(api_key=ARGUMENTS.key, url=ARGUMENTS.ws_url, settings=voice))


STEPS = (
    streamed,
    responses_streamed,
    calls,
    openai_transcription,
    openai_live_transcription,
    deepgram_live_transcription,
    flux_live_transcription,
    openai_speech,
    deepgram_live_speech,
    elevenlabs_live_speech,
)
asyncio.run(tell(*STEPS))
