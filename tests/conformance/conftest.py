"""OpenAI's clients of the server, which most of these tests use; tests of other vendors have fixtures of the same names
themselves.
"""

import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI

from sdk_shapes import check_answers
from serving import Server


@pytest.fixture(scope="session", autouse=True)
def strict() -> Iterator[None]:
    """Whatever OpenAI's SDK gets is as it types it, and has no field that it does not know."""
    with pytest.MonkeyPatch.context() as patch:
        check_answers(patch)
        yield


@pytest.fixture(scope="session")
def keeping(server: Server) -> str:
    """The key of a project whose answers are kept for an hour."""
    bearer = {"authorization": f"Bearer {server.api_key}"}
    with httpx.Client(base_url=server.base_url, timeout=60) as client:
        project = {"id": "keeping", "keep_answers_s": 3600}
        assert client.post("/admin/v1/projects", headers=bearer, json=project).status_code == 201
        made = client.post("/admin/v1/keys", headers=bearer, json={"project": "keeping"})
        key: str = made.json()["key"]
        deadline = time.monotonic() + 5  # the server follows a new policy within a second
        body = {"model": "gpt-4o-mini", "input": "Hi", "max_output_tokens": 1}
        while not client.post("/v1/responses", headers={"authorization": f"Bearer {key}"}, json=body).json()["store"]:
            assert time.monotonic() < deadline
        return key


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.base_url}/v1", api_key=server.api_key, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
async def async_client(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{server.base_url}/v1", api_key=server.api_key, max_retries=0, timeout=60
    ) as client:
        yield client
