"""What a user of LiveKit's plugins does first, with their defaults: no agent, only its parts."""

import asyncio
import wave
from typing import Any

from livekit import rtc
from livekit.agents import llm, stt, utils
from livekit.plugins import deepgram, elevenlabs, openai
from steps import arguments, tell

ARGUMENTS = arguments()
HERE: dict[str, Any] = {"base_url": ARGUMENTS.openai_url, "api_key": ARGUMENTS.key}
TEXT = "It is sunny in Paris today."
PIECE_S = 0.05


@llm.function_tool
async def weather(city: str) -> str:
    """Tells the weather in a city.

    Args:
        city: Paris or Rome
    """
    return f"It is sunny in {city}."


def asked(text: str) -> llm.ChatContext:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=text)
    return context


async def answered(model: llm.LLM) -> Any:
    """The pieces of text, and how many tokens were counted."""
    parts, tokens = [], 0
    async with model.chat(chat_ctx=asked("Name a colour.")) as stream:
        async for chunk in stream:
            if chunk.delta and chunk.delta.content:
                parts.append(chunk.delta.content)
            if chunk.usage:
                tokens = chunk.usage.completion_tokens
    return {"text": "".join(parts), "tokens": tokens}


async def chat() -> Any:
    return await answered(openai.LLM(max_completion_tokens=60, **HERE))


async def responses_chat() -> Any:
    return await answered(
        openai.responses.LLM(max_output_tokens=60, base_url=f"{ARGUMENTS.openai_url}/responses", api_key=ARGUMENTS.key)
    )


async def tools() -> Any:
    model = openai.LLM(max_completion_tokens=100, **HERE)
    context = asked("What is the weather in Paris?")
    chosen: Any = {"type": "function", "function": {"name": "weather"}}
    first = await model.chat(chat_ctx=context, tools=[weather], tool_choice=chosen).collect()
    results = []
    for call in first.tool_calls:
        done = await llm.execute_function_call(call, llm.ToolContext([weather]))
        results.append(done.raw_output)
        context.items += [done.fnc_call, done.fnc_call_out]
    after = await model.chat(chat_ctx=context, tools=[weather], tool_choice="none").collect()
    return {"results": results, "text": after.text}


def frames() -> list[rtc.AudioFrame]:
    with wave.open(ARGUMENTS.audio) as file:
        rate_hz = file.getframerate()
        pcm = file.readframes(file.getnframes()) + bytes(2 * rate_hz)
    step = round(rate_hz * PIECE_S) * 2
    return [
        rtc.AudioFrame(piece, rate_hz, 1, len(piece) // 2)
        for piece in (pcm[i : i + step] for i in range(0, len(pcm), step))
    ]


async def recognised(engine: stt.STT) -> str:
    event = await engine.recognize(frames())
    return event.alternatives[0].text


async def recognised_live(engine: stt.STT) -> str:
    """Not every plugin ends its stream by itself: no final for two seconds after all was said is the end."""
    finals: list[str] = []
    stream = engine.stream()

    async def listen() -> None:
        async for event in stream:
            if event.type is not stt.SpeechEventType.FINAL_TRANSCRIPT:
                continue
            finals.append(event.alternatives[0].text)

    listening = asyncio.create_task(listen())
    for frame in frames():
        if listening.done():
            break
        stream.push_frame(frame)
        await asyncio.sleep(PIECE_S / 2)
    else:
        stream.end_input()
    before = -1
    while len(finals) > before and not listening.done():
        before = len(finals)
        await asyncio.wait({listening}, timeout=2)
    await stream.aclose()
    await listening
    return " ".join(finals)


async def openai_transcription() -> Any:
    return await recognised(openai.STT(**HERE))


async def openai_live_transcription() -> Any:
    return await recognised_live(openai.STT(use_realtime=True, **HERE))


async def openai_whisper_live_transcription() -> Any:
    return await recognised_live(openai.STT(model="gpt-realtime-whisper", **HERE))


async def deepgram_transcription() -> Any:
    return await recognised(deepgram.STT(base_url=f"{ARGUMENTS.openai_url}/listen", api_key=ARGUMENTS.key))


async def deepgram_live_transcription() -> Any:
    return await recognised_live(deepgram.STT(base_url=f"{ARGUMENTS.openai_url}/listen", api_key=ARGUMENTS.key))


async def flux_live_transcription() -> Any:
    return await recognised_live(deepgram.STTv2(base_url=f"{ARGUMENTS.ws_url}/v2/listen", api_key=ARGUMENTS.key))


async def spoken(voice: Any) -> int:
    async with voice.synthesize(TEXT) as stream:
        return sum([len(event.frame.data) async for event in stream])


async def spoken_live(voice: Any) -> int:
    async with voice.stream() as stream:
        for word in TEXT.split(" "):
            stream.push_text(f"{word} ")
        stream.end_input()
        return sum([len(event.frame.data) async for event in stream])


async def openai_speech() -> Any:
    return await spoken(openai.TTS(**HERE))


async def deepgram_speech() -> Any:
    return await spoken(deepgram.TTS(base_url=f"{ARGUMENTS.openai_url}/speak", api_key=ARGUMENTS.key))


async def deepgram_live_speech() -> Any:
    return await spoken_live(deepgram.TTS(base_url=f"{ARGUMENTS.openai_url}/speak", api_key=ARGUMENTS.key))


async def elevenlabs_speech() -> Any:
    return await spoken(elevenlabs.TTS(**HERE))


async def elevenlabs_live_speech() -> Any:
    return await spoken_live(elevenlabs.TTS(**HERE))


async def elevenlabs_v3_speech() -> Any:
    return await spoken(elevenlabs.TTS(model="eleven_v3", **HERE))


async def realtime_speech() -> Any:
    """Until two seconds of a reply have come, which is then broken off: the model would talk on."""
    session = openai.realtime.RealtimeModel(**HERE).session()
    reply = await session.generate_reply(instructions="Say good morning.")
    total = 0
    async for message in reply.message_stream:
        async for frame in message.audio_stream:
            total += len(frame.data)
            if total > 48_000:
                session.interrupt()
                break
        break
    await session.aclose()
    return total


STEPS = (
    chat,
    responses_chat,
    tools,
    openai_transcription,
    openai_live_transcription,
    openai_whisper_live_transcription,
    deepgram_transcription,
    deepgram_live_transcription,
    flux_live_transcription,
    openai_speech,
    deepgram_speech,
    deepgram_live_speech,
    elevenlabs_speech,
    elevenlabs_live_speech,
    elevenlabs_v3_speech,
    realtime_speech,
)


async def main() -> None:
    async with utils.http_context.open():  # what a worker of LiveKit gives each job
        await tell(*STEPS)


asyncio.run(main())
