"""What a user of instructor does first, with its defaults."""

import asyncio
from typing import Any, Literal

import instructor
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from steps import arguments, tell

ARGUMENTS = arguments()
MODEL = "gpt-4o-mini"
LIMIT = 120


class Fruit(BaseModel):
    name: Literal["apple", "banana"]
    ripe: bool


def client() -> OpenAI:
    return OpenAI(base_url=ARGUMENTS.openai_url, api_key=ARGUMENTS.key)


def asked(text: str) -> Any:
    return [{"role": "user", "content": text}]


def structured() -> Any:
    made = instructor.from_openai(client())
    fruit = made.create(model=MODEL, response_model=Fruit, messages=asked("Give me a fruit."), max_tokens=LIMIT)
    return fruit.model_dump()


async def async_structured() -> Any:
    made = instructor.from_openai(AsyncOpenAI(base_url=ARGUMENTS.openai_url, api_key=ARGUMENTS.key))
    fruit = await made.create(model=MODEL, response_model=Fruit, messages=asked("Give me a fruit."), max_tokens=LIMIT)
    return fruit.model_dump()


def schema_structured() -> Any:
    made = instructor.from_openai(client(), mode=instructor.Mode.JSON_SCHEMA)
    return made.create(
        model=MODEL, response_model=Fruit, messages=asked("Give me a fruit."), max_tokens=LIMIT
    ).model_dump()


def responses_structured() -> Any:
    made = instructor.from_openai(client(), mode=instructor.Mode.RESPONSES_TOOLS)
    return made.create(
        model=MODEL, response_model=Fruit, messages=asked("Give me a fruit."), max_output_tokens=LIMIT
    ).model_dump()


def streamed_structured() -> Any:
    made = instructor.from_openai(client())
    parts = made.create_partial(model=MODEL, response_model=Fruit, messages=asked("Give me a fruit."), max_tokens=LIMIT)
    *before, last = parts
    assert before
    return last.model_dump()


def counted_structured() -> Any:
    made = instructor.from_openai(client())
    fruit, completion = made.create_with_completion(
        model=MODEL, response_model=Fruit, messages=asked("Give me a fruit."), max_tokens=LIMIT
    )
    assert completion.usage.completion_tokens > 0
    return fruit.model_dump()


asyncio.run(
    tell(structured, async_structured, schema_structured, responses_structured, streamed_structured, counted_structured)
)
