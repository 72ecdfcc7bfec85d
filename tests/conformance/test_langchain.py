"""LangChain, unmodified, on the real server and its embedded model."""

from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAI, OpenAIEmbeddings
from model_tasks import Fruit, get_weather
from pydantic import SecretStr

MODEL = "gpt-4o-mini"
VERSION = "smollm2-135m-instruct"
# LangChain keeps one connection pool for all models of an address, and that belongs to one event loop.
one_loop = pytest.mark.asyncio(loop_scope="module")
QUESTION = [SystemMessage("You are a helpful assistant."), HumanMessage("Name three colours.")]
WEATHER = tool(get_weather)


def chat(server: Any, **settings: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=MODEL,
        base_url=f"{server.base_url}/v1",
        api_key=SecretStr(server.api_key),
        temperature=0,
        max_retries=0,
        timeout=60,
        **{"max_tokens": 40, **settings},
    )


def test_invoke(server: Any) -> None:
    answer = chat(server).invoke(QUESTION)
    assert answer.text
    assert answer.response_metadata["model_name"] == VERSION
    assert answer.response_metadata["finish_reason"] in ("stop", "length")
    assert answer.usage_metadata
    assert 0 < answer.usage_metadata["output_tokens"] <= 40


@one_loop
async def test_invoke_async(server: Any) -> None:
    assert (await chat(server).ainvoke("Say hello.")).text


def test_stream(server: Any) -> None:
    model = chat(server, stream_usage=True)
    chunks = list(model.stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert len(chunks) > 5
    assert whole.text == model.invoke(QUESTION).text
    assert whole.usage_metadata
    assert whole.usage_metadata["output_tokens"] > 5


@one_loop
async def test_a_chain_in_a_stream_async(server: Any) -> None:
    chain = ChatPromptTemplate.from_messages([("user", "Name a {thing}.")]) | chat(server) | StrOutputParser()
    parts = [part async for part in chain.astream({"thing": "colour"})]
    assert "".join(parts)


def test_batch(server: Any) -> None:
    answers = chat(server, max_tokens=8).batch(["One?", "Two?", "Three?"])
    assert len(answers) == 3
    assert all(answer.text for answer in answers)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(server: Any, method: Literal["json_schema", "function_calling"]) -> None:
    model = chat(server, max_tokens=120).with_structured_output(Fruit, method=method)
    assert isinstance(model.invoke("Give me a fruit."), Fruit)


def test_a_tool_and_its_result(server: Any) -> None:
    question = HumanMessage("What is the weather in Rome?")
    model = chat(server, max_tokens=120)
    answer = model.bind_tools([WEATHER], tool_choice="get_weather").invoke([question])
    assert isinstance(answer, AIMessage)
    (call,) = answer.tool_calls
    assert call["name"] == "get_weather"
    result = WEATHER.invoke(call)
    assert isinstance(result, ToolMessage)
    assert model.bind_tools([WEATHER], tool_choice="none").invoke([question, answer, result]).text


def test_a_tool_in_a_stream(server: Any) -> None:
    model = chat(server, max_tokens=120).bind_tools([WEATHER], tool_choice="any", parallel_tool_calls=False)
    chunks = list(model.stream("What is the weather in Paris?"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    (call,) = whole.tool_calls
    assert call["name"] == "get_weather"
    assert call["args"]["city"] in ("Paris", "Rome")


def test_log_probabilities(server: Any) -> None:
    answer = chat(server, logprobs=True).invoke(QUESTION)
    tokens = answer.response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == answer.text


def test_a_completion(server: Any) -> None:
    model = OpenAI(
        model=MODEL, base_url=f"{server.base_url}/v1", api_key=SecretStr(server.api_key), max_tokens=8, max_retries=0
    )
    assert model.invoke("Once upon a time")
    assert "".join(model.stream("Once upon a time"))


def test_azure(server: Any) -> None:
    model = AzureChatOpenAI(
        azure_endpoint=server.base_url,
        azure_deployment=MODEL,
        api_version="2024-10-21",
        api_key=SecretStr(server.api_key),
        max_tokens=8,
        max_retries=0,
    )
    assert model.invoke(QUESTION).text
    assert "".join(chunk.text for chunk in model.stream(QUESTION))


def test_embeddings(server: Any) -> None:
    model = OpenAIEmbeddings(
        model="all-minilm-l6-v2",
        base_url=f"{server.base_url}/v1",
        api_key=SecretStr(server.api_key),
        check_embedding_ctx_length=False,  # otherwise LangChain sends the tokens of OpenAI's vocabulary
        max_retries=0,
    )
    cat, kitten, ledger = model.embed_documents(["A cat.", "A kitten.", "The ledger is durable."])
    assert len(cat) == 384
    assert sum(a * b for a, b in zip(cat, kitten, strict=True)) > sum(a * b for a, b in zip(cat, ledger, strict=True))
