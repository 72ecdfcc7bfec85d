"""What load tools send to a server of open models, and what they read in its answers: `vllm bench serve` (vLLM's
vllm/benchmarks/lib/endpoint_request_func.py) and guidellm 0.8 (guidellm/backends/openai/request_handlers.py).
"""

import gzip
import json
from typing import Any

import httpx
import pytest

from serving import Server

MODEL = "gpt-4.1"
QUESTION = [{"role": "user", "content": [{"type": "text", "text": "Tell me of the sea."}]}]
VLLM = {"stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True}
GUIDELLM = {
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    "stop": None,
    "ignore_eos": True,
}
TOKENS = 48


@pytest.fixture
def http(server: Server) -> Any:
    bearer = {"authorization": f"Bearer {server.api_key}"}
    with httpx.Client(base_url=server.base_url, headers=bearer, timeout=60) as client:
        yield client


def chunks(http: httpx.Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = http.post(path, json={"model": MODEL, **body})
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "The sea", "repetition_penalty": 1.0, "max_tokens": TOKENS, "logprobs": None}),
        ("/v1/chat/completions", {"messages": QUESTION, "max_completion_tokens": TOKENS}),
    ],
)
def test_vllm_bench_serve(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    told = chunks(http, path, {**body, **VLLM})
    assert all(chunk["choices"] for chunk in told[:-1])
    assert told[-1]["choices"] == []
    assert told[-1]["usage"]["completion_tokens"] == TOKENS
    assert told[-1]["usage"]["prompt_tokens"] > 0
    assert told[-2]["choices"][0]["finish_reason"] == "length"


def test_vllm_bench_serve_by_responses(http: httpx.Client) -> None:
    body = {"model": MODEL, "input": "Tell me of the sea.", "max_output_tokens": TOKENS, "store": False}
    more = {"ignore_eos": True, "temperature": 0.0, "top_k": 5, "min_p": 0.0, "repetition_penalty": 1.0}
    answer = http.post("/v1/responses", json={**body, **more, "frequency_penalty": 0.0, "presence_penalty": 0.0})
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["output_tokens"] == TOKENS
    chosen = {"structured_outputs": {"choice": ["blue", "red"]}}
    text = http.post("/v1/responses", json={**body, **chosen}).json()["output"][0]["content"][0]["text"]
    assert text in ("blue", "red")


def test_vllm_bench_serve_of_embeddings(http: httpx.Client) -> None:
    body = {"model": "text-embedding-3-small", "input": "The sea", "truncate_prompt_tokens": -1}
    answer = http.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["antiphon-no-effect"] == "truncate_prompt_tokens"
    assert http.post("/v1/embeddings", json={**body, "truncate_prompt_tokens": 5}).status_code == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "The sea", "max_tokens": TOKENS}),
        ("/v1/chat/completions", {"messages": QUESTION, "max_completion_tokens": TOKENS}),
    ],
)
def test_guidellm(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    assert http.get("/health").status_code == 200
    assert MODEL in {model["id"] for model in http.get("/v1/models").json()["data"]}
    told = chunks(http, path, {**body, **GUIDELLM})
    counts = [chunk["usage"]["completion_tokens"] for chunk in told]
    assert counts == sorted(counts)
    assert counts[-1] == TOKENS
    assert len({chunk["usage"]["prompt_tokens"] for chunk in told}) == 1


def test_guidellm_by_responses(http: httpx.Client) -> None:
    body = {"model": MODEL, "input": "Tell me of the sea.", "max_output_tokens": TOKENS, "stop": None}
    answer = http.post("/v1/responses", json={**body, "ignore_eos": True})
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["output_tokens"] == TOKENS


def test_what_open_engines_know_is_done(http: httpx.Client) -> None:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Is the sky blue?"}], "max_tokens": 20}
    more = {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.1, "min_tokens": 2, "chat_template_kwargs": {"a": 1}}
    for form in ({"structured_outputs": {"choice": ["yes", "no"]}}, {"guided_choice": ["yes", "no"]}):
        said = http.post("/v1/chat/completions", json={**asked, **more, **form}).json()
        assert said["choices"][0]["message"]["content"] in ("yes", "no")
    refused = http.post("/v1/chat/completions", json={**asked, "structured_outputs": {"regex": "a+"}})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "structured_outputs")


def test_health_is_empty_and_takes_no_key(server: Server) -> None:
    answer = httpx.get(f"{server.base_url}/health")
    assert (answer.status_code, answer.content) == (200, b"")


def test_open_webuis_listings_take_no_key(server: Server) -> None:
    voices = httpx.get(f"{server.base_url}/v1/audio/voices").json()["voices"]
    assert {"id": "alloy", "name": "alloy"} in voices
    assert {"id": "tts-1", "name": "tts-1"} in httpx.get(f"{server.base_url}/v1/audio/models").json()["models"]


def test_a_first_hello(http: httpx.Client) -> None:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    for _ in range(3):
        (choice,) = http.post("/v1/chat/completions", json=asked).json()["choices"]
        assert choice["finish_reason"] == "stop"
        assert choice["message"]["content"].count("Hello") == 1


def test_one_tool_is_called_once(http: httpx.Client) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    asked = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Weather in Paris?"}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": parameters}}],
        "tool_choice": "required",
        "max_tokens": 600,
    }
    (choice,) = http.post("/v1/chat/completions", json=asked).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in choice["message"]["tool_calls"]]
    assert len(set(calls)) == len(calls) < 5


def test_openais_embedding_models_answer_to_texts(http: httpx.Client) -> None:
    answer = http.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "Hello"}).json()
    assert len(answer["data"][0]["embedding"]) == 384
    for fields, param in (({"dimensions": 1536}, "dimensions"), ({"input": [[9906]]}, "input")):
        refused = http.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "Hello", **fields})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_a_compressed_body(http: httpx.Client) -> None:
    for path in ("/v2/models/gpt-4.1/infer", "/v1/chat/completions"):
        answer = http.post(path, content=gzip.compress(b"{}"), headers={"content-encoding": "gzip"})
        assert answer.status_code == 415
        assert "gzip" in json.dumps(answer.json()["error"])
