"""OpenAI's agents SDK holds a spoken conversation with a function call: its realtime runner, pointed at the server."""

import asyncio

import pytest
from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession
from agents.realtime.model_inputs import RealtimeModelSendRawMessage
from openai import OpenAI

from serving import Server

MODEL = "gpt-4o-mini"
PATIENCE_S = 60
PIECE_BYTES = 4_800


@pytest.fixture(scope="module")
def question(server: Server) -> bytes:
    """Spoken by the embedded voice: 24 kHz mono int16."""
    with OpenAI(base_url=f"{server.base_url}/v1", api_key=server.api_key) as client:
        text = "What is the weather like in Paris today?"
        spoken = client.audio.speech.create(model="tts-1", voice="alloy", input=text, response_format="pcm")
        return spoken.content


async def _speak(session: RealtimeSession, pcm: bytes) -> None:
    """As a microphone does: a tenth of a second at a time, and then what there is of silence."""
    for start in range(0, 100 * len(pcm), PIECE_BYTES):
        await session.send_audio(pcm[start : start + PIECE_BYTES] or bytes(PIECE_BYTES))
        await asyncio.sleep(0.1)


async def test_a_spoken_conversation_with_a_function(server: Server, question: bytes):
    called: list[str] = []

    @function_tool
    async def get_weather(city: str) -> str:
        """Tells the weather in a city."""
        called.append(city)
        # A model as small as the embedded one would call again, or talk of tools.
        told = "You are a friendly speaker. Answer with a short sentence in plain English."
        changed = {"session": {"type": "realtime", "instructions": told, "tools": [], "tool_choice": "none"}}
        await session.model.send_event(
            RealtimeModelSendRawMessage(message={"type": "session.update", "other_data": changed})
        )
        return "It is sunny in Paris."

    agent = RealtimeAgent(name="Weather", instructions="Be brief.", tools=[get_weather])
    settings = {"model_name": MODEL, "tool_choice": "required", "parallel_tool_calls": False, "max_output_tokens": 48}
    runner = RealtimeRunner(agent, config={"model_settings": settings})
    url = f"{server.ws_url}/v1/realtime?model={MODEL}"
    audio, happened, errors, history = 0, [], [], []
    async with (
        asyncio.timeout(PATIENCE_S),
        await runner.run(
            model_config={"url": url, "api_key": server.api_key, "initial_model_settings": settings}
        ) as session,
    ):
        speaking = asyncio.create_task(_speak(session, question))
        async for event in session:
            happened.append(event.type)
            if event.type == "audio":
                audio += len(event.audio.data)
            elif event.type == "error":
                errors.append(event.error)
            elif event.type == "history_updated":
                history = event.history
            elif event.type == "audio_end" and called:
                speaking.cancel()
                break
    assert errors == []
    assert called
    assert audio > 10_000
    assert {"agent_start", "tool_start", "tool_end", "audio", "history_added"} <= set(happened)
    heard = [part.transcript for item in history if getattr(item, "role", "") == "user" for part in item.content]
    assert any("weather" in (words or "").lower() for words in heard)
