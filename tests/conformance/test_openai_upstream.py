"""What callers ask of a model behind another server with OpenAI's API reaches it, or is refused by its name."""

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest

from antiphon.models import Store
from serving import Server, served

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
DATA = f"data:image/png;base64,{b64encode(PNG).decode()}"
ANSWER = {
    "choices": [{"index": 0, "message": {"content": "A cat."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3},
}
SETTINGS = """
[engines.sees]
kind = "openai"
server = "vllm"
url = "{url}"
model = "served"

[engines.blind]
kind = "openai"
server = "vllm"
url = "{url}"
model = "served"
cannot = ["image_url", "reasoning_effort", "logit_bias"]

[models]
sees = {{ engines = ["sees"] }}
blind = {{ engines = ["blind"] }}
"""


class Upstream(ThreadingHTTPServer):
    """Answers whatever it is asked, and has a picture. `asked` is what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Upstream

    def do_GET(self) -> None:
        self._answer(PNG if self.path == "/cat.png" else b"")

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self._answer(json.dumps(ANSWER).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def forwarding(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("forwarding")
    models = Store(directory / "none", offline=True)
    models.root.mkdir(parents=True)
    with served(directory / "data", models, SETTINGS.format(url=upstream.url)) as server:
        yield server


@pytest.fixture
def client(forwarding: Server, upstream: Upstream) -> openai.OpenAI:
    upstream.asked.clear()
    return openai.OpenAI(base_url=f"{forwarding.base_url}/v1", api_key=forwarding.api_key, max_retries=0)


def about(url: str) -> list[Any]:
    shown = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, shown]}]


@pytest.mark.parametrize("near", [True, False])
def test_a_chat_about_a_picture(client: openai.OpenAI, upstream: Upstream, near: bool) -> None:
    """One that is named by its URL is fetched here: the model's server is given the picture itself."""
    url = DATA if near else f"{upstream.url}/cat.png"
    answer = client.chat.completions.create(
        model="sees", messages=about(url), reasoning_effort="high", logit_bias={"7": 5}
    )
    assert answer.choices[0].message.content == "A cat."
    (asked,) = upstream.asked
    assert asked["messages"] == about(DATA)
    assert (asked["reasoning_effort"], asked["logit_bias"]) == ("high", {"7": 5})


def test_a_response_about_a_picture(client: openai.OpenAI, upstream: Upstream) -> None:
    part = {"type": "input_image", "image_url": f"{upstream.url}/cat.png", "detail": "low"}
    content: list[Any] = [{"type": "input_text", "text": "What is this?"}, part]
    answer = client.responses.create(
        model="sees", input=[{"role": "user", "content": content}], reasoning={"effort": "low"}
    )
    assert answer.output_text == "A cat."
    assert answer.reasoning is not None
    assert answer.reasoning.effort == "low"
    (asked,) = upstream.asked
    assert asked["messages"] == about(DATA)
    assert asked["reasoning_effort"] == "low"


def test_a_model_that_cannot(client: openai.OpenAI, upstream: Upstream) -> None:
    hello: Any = [{"role": "user", "content": "Hello"}]
    for fields, param in (
        ({"messages": about(DATA)}, "messages[0].content[1].image_url"),
        ({"messages": hello, "logit_bias": {"7": 5}}, "logit_bias"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="blind", **fields)
        assert (refused.value.param, refused.value.code) == (param, "unsupported_parameter")
    assert not upstream.asked
    raw = client.chat.completions.with_raw_response.create(model="blind", messages=hello, reasoning_effort="high")
    assert raw.headers["antiphon-no-effect"] == "reasoning_effort"
    assert "reasoning_effort" not in upstream.asked[0]


def test_a_url_that_leads_nowhere(client: openai.OpenAI, upstream: Upstream) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="sees", messages=about(f"{upstream.url}/dog.png"))
    assert refused.value.param == "messages[0].content[1].image_url"
    assert not upstream.asked
