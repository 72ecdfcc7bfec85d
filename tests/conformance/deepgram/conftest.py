"""Deepgram's own clients of the server."""

import pytest
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram_environment import environment

from serving import Server


@pytest.fixture
def client(server: Server) -> DeepgramClient:
    return DeepgramClient(api_key=server.api_key, environment=environment(server))


@pytest.fixture
def async_client(server: Server) -> AsyncDeepgramClient:
    return AsyncDeepgramClient(api_key=server.api_key, environment=environment(server))
