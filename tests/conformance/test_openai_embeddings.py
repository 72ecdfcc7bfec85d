"""OpenAI's official SDK, unmodified, gets embeddings from the real server and its embedded model."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, AzureOpenAI, OpenAI

MODEL = "all-minilm-l6-v2"
REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "minilm.json").read_text())
TEXTS = [each["text"] for each in REFERENCE]


def close(a: list[float], b: list[float]) -> bool:
    return sum(x * y for x, y in zip(a, b, strict=True)) > 0.9999


def test_it_gives_what_the_reference_gives(client: OpenAI) -> None:
    """In base64, which the SDK asks for by itself and decodes."""
    answer = client.embeddings.create(model=MODEL, input=TEXTS)
    for n, (each, reference) in enumerate(zip(answer.data, REFERENCE, strict=True)):
        assert each.index == n
        assert close(each.embedding, list(struct.unpack("<384f", base64.b64decode(reference["vector"]))))
    assert answer.model == MODEL
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(each["tokens"] for each in REFERENCE)


def test_numbers_are_the_same_numbers(client: OpenAI) -> None:
    packed = client.embeddings.create(model=MODEL, input="Hello").data[0].embedding
    plain = client.embeddings.create(model=MODEL, input="Hello", encoding_format="float").data[0].embedding
    assert packed == plain


async def test_async_tokens_user_and_dimensions(async_client: AsyncOpenAI) -> None:
    answer = await async_client.embeddings.create(
        model=MODEL, input=[[7592], [7592, 2088]], user="u", dimensions=384, encoding_format="base64"
    )
    assert [len(each.embedding) for each in answer.data] == [512 * 4, 512 * 4]  # base64 of 384 floats
    assert answer.usage.prompt_tokens == 3 + 4


def test_azure(server: Any) -> None:
    with AzureOpenAI(azure_endpoint=server.base_url, api_key=server.api_key, api_version="2024-10-21") as client:
        assert len(client.embeddings.create(model=MODEL, input="Hello").data[0].embedding) == 384


@pytest.mark.parametrize(
    ("fields", "kind", "param", "code"),
    [
        ({"input": "word " * 300}, openai.BadRequestError, "input", "context_length_exceeded"),
        ({"input": [40_000]}, openai.BadRequestError, "input", "invalid_value"),
        ({"input": ""}, openai.BadRequestError, "input", "invalid_value"),
        ({"input": "a", "dimensions": 100}, openai.BadRequestError, "dimensions", "unsupported_parameter"),
        ({"input": "a", "model": "gpt-4o-mini"}, openai.BadRequestError, "model", "invalid_value"),
        ({"input": "a", "model": "none"}, openai.NotFoundError, "model", "model_not_found"),
        ({"input": "a", "extra_body": {"task": "x"}}, openai.BadRequestError, "task", "unsupported_parameter"),
    ],
)
def test_refusals(
    client: OpenAI, fields: dict[str, Any], kind: type[openai.APIStatusError], param: str, code: str
) -> None:
    with pytest.raises(kind) as refused:
        client.embeddings.create(**{"model": MODEL, **fields})
    assert (refused.value.param, refused.value.code) == (param, code)
    assert "word word" not in str(refused.value)
