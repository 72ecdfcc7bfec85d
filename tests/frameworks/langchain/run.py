"""What a user of LangChain does first, with its defaults."""

import asyncio
from typing import Any, Literal

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr
from steps import arguments, tell

ARGUMENTS = arguments()
HERE: dict[str, Any] = {"base_url": ARGUMENTS.openai_url, "api_key": SecretStr(ARGUMENTS.key)}


class Fruit(BaseModel):
    """A fruit."""

    name: Literal["apple", "banana"]
    ripe: bool


@tool
def weather(city: Literal["Paris", "Rome"]) -> str:
    """Tells the weather in a city."""
    return f"It is sunny in {city}."


def model(**settings: Any) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o-mini", max_completion_tokens=100, **HERE, **settings)


def chat() -> Any:
    answer = model().invoke("Name a colour.")
    return {"text": answer.text, "tokens": (answer.usage_metadata or {}).get("output_tokens")}


async def streamed() -> Any:
    return [chunk.text async for chunk in model().astream("Name a colour.") if chunk.text]


def tools() -> Any:
    question = HumanMessage("What is the weather in Paris?")
    answer = model().bind_tools([weather], tool_choice="weather").invoke([question])
    results = [weather.invoke(call) for call in answer.tool_calls]
    after = model().bind_tools([weather], tool_choice="none").invoke([question, answer, *results])
    return {"results": [result.content for result in results], "text": after.text}


def structured() -> Any:
    return model().with_structured_output(Fruit).invoke("Give me a fruit.").model_dump()


def responses_turns() -> Any:
    asked = [HumanMessage("Hi, my name is Ann.")]
    with_responses = model(use_responses_api=True)
    first = with_responses.invoke(asked)
    second = with_responses.invoke([*asked, first, HumanMessage("What is my name?")])
    return [first.text, second.text]


def responses_streamed() -> Any:
    return [chunk.text for chunk in model(use_responses_api=True).stream("Name a colour.") if chunk.text]


def embeddings() -> Any:
    # LangChain would count tokens by OpenAI's vocabulary, which it fetches, and send these.
    texts = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False, **HERE)
    return [len(vector) for vector in texts.embed_documents(["A cat.", "A dog."])]


asyncio.run(tell(chat, streamed, tools, structured, responses_turns, responses_streamed, embeddings))
