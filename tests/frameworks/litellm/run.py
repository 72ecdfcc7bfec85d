"""What a user of LiteLLM does first, with its defaults."""

import asyncio
import json
import os
from typing import Any, Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # prices come with the package; nothing is fetched

import litellm
from pydantic import BaseModel
from steps import arguments, tell

ARGUMENTS = arguments()
HERE: dict[str, Any] = {"api_base": ARGUMENTS.openai_url, "api_key": ARGUMENTS.key}
MODEL = "openai/gpt-4o-mini"
QUESTION = [{"role": "user", "content": "Name a colour."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]},
    },
}


class Fruit(BaseModel):
    name: Literal["apple", "banana"]
    ripe: bool


def chat() -> Any:
    answer = litellm.completion(model=MODEL, messages=QUESTION, max_tokens=40, **HERE)
    return {"text": answer.choices[0].message.content, "tokens": answer.usage.completion_tokens}


async def streamed() -> Any:
    stream = await litellm.acompletion(model=MODEL, messages=QUESTION, max_tokens=40, stream=True, **HERE)
    return [text async for chunk in stream if (text := chunk.choices[0].delta.content)]


def tools() -> Any:
    asked: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    chosen = {"type": "function", "function": {"name": "weather"}}
    answer = litellm.completion(
        model=MODEL, messages=asked, tools=[WEATHER], tool_choice=chosen, max_tokens=100, **HERE
    )
    message = answer.choices[0].message
    asked.append(message)
    results = []
    for call in message.tool_calls:
        assert call.function.name == "weather"
        results.append(f"It is sunny in {json.loads(call.function.arguments)['city']}.")
        asked.append({"role": "tool", "tool_call_id": call.id, "content": results[-1]})
    after = litellm.completion(model=MODEL, messages=asked, tools=[WEATHER], tool_choice="none", max_tokens=40, **HERE)
    return {"results": results, "text": after.choices[0].message.content}


def structured() -> Any:
    asked = [{"role": "user", "content": "Give me a fruit as JSON."}]
    answer = litellm.completion(model=MODEL, messages=asked, response_format=Fruit, max_tokens=100, **HERE)
    return Fruit.model_validate_json(answer.choices[0].message.content).model_dump()


def responses_chat() -> Any:
    answer = litellm.responses(model=MODEL, input="Name a colour.", max_output_tokens=40, **HERE)
    text = "".join(part.text for item in answer.output for part in item.content)
    return {"text": text, "tokens": answer.usage.output_tokens}


def embeddings() -> Any:
    answer = litellm.embedding(model="openai/text-embedding-3-small", input=["A cat.", "A dog."], **HERE)
    return [len(item["embedding"]) for item in answer.data]


def transcription() -> Any:
    with open(ARGUMENTS.audio, "rb") as file:
        return litellm.transcription(model="openai/whisper-1", file=file, **HERE).text


def speech() -> Any:
    spoken = litellm.speech(model="openai/tts-1", voice="alloy", input="It is sunny in Paris today.", **HERE)
    return len(spoken.content)


asyncio.run(tell(chat, streamed, tools, structured, responses_chat, embeddings, transcription, speech))
