"""One server for all conformance tests of a worker."""

import time
from collections.abc import Iterator

import httpx
import pytest

from antiphon.models import Store
from serving import API_KEY, Server, start


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("data")
    process, url = start(data_dir, models)
    yield Server(url, API_KEY, data_dir, process.pid)
    process.terminate()
    assert process.wait(20) == 0


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
        asked = {"model": "gpt-4o-mini", "input": "Hi", "max_output_tokens": 1}
        while not client.post("/v1/responses", headers={"authorization": f"Bearer {key}"}, json=asked).json()["store"]:
            assert time.monotonic() < deadline
        return key
