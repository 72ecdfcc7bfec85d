"""Bodies that make little sense, by the thousand, where OpenAI takes JSON: whatever comes, the answer is one that the
OpenAPI document knows, in OpenAI's own shape, and never a defect. Some come from the document itself, by schemathesis;
most are valid bodies, changed here and there.
"""

import copy
import json
import math
import os
import random
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from requests import Request
from schemathesis import GenerationMode

from antiphon import __version__
from antiphon.surfaces.openai import response_wire, wire
from antiphon.surfaces.openai.document import document
from antiphon.surfaces.openai.embeddings import EmbeddingList
from antiphon.surfaces.openai.speech import FORMATS

pytestmark = pytest.mark.usefixtures("no_defects")
MUTATIONS = int(os.environ.get("ANTIPHON_MUTATIONS", "1000"))
GENERATED = max(100, MUTATIONS // 10)  # they take ten times as long to make
SCHEMA = schemathesis.openapi.from_dict(json.loads(document(__version__)))
OPERATIONS = {operation.ok().label: operation.ok() for operation in SCHEMA.get_all_operations()}
HURRIED = settings(database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
SOUNDS = {kind for _, kind in FORMATS.values()}
ANSWERS = {
    "/v1/chat/completions": wire.ChatCompletion,
    "/v1/completions": wire.TextCompletion,
    "/v1/embeddings": EmbeddingList,
    "/v1/responses": response_wire.Response,
}


def check(operation, path, answer):
    status, kind, body = answer
    if status == 200 and kind in SOUNDS:
        return
    assert str(status) in OPERATIONS[operation].definition.raw["responses"], (status, body[:500])
    assert status != 500, body[:500]
    if status != 200:
        assert kind == wire.JSON, (status, kind, body[:200])
        error = msgspec.json.decode(body, type=wire.ErrorBody).error
        assert error.message
        assert set(json.loads(body)) == {"error"}
        return
    if kind == wire.EVENTS:
        for event in body.decode().split("\n\n")[:-1]:
            data = event.rpartition("data: ")[2]
            assert data == "[DONE]" or isinstance(json.loads(data), dict)
        return
    if path in ANSWERS:
        msgspec.json.decode(body, type=ANSWERS[path])
    else:
        json.loads(body)


# -- from the document -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", GenerationMode)
def test_generated_mutations(door, operation, mode):
    posts = [f"POST {path}" for path, _ in VALID]
    share = GENERATED // 10 if operation in posts else GENERATED // 40

    @settings(HURRIED, max_examples=share, derandomize=True)
    @given(OPERATIONS[operation].as_strategy(generation_mode=mode))
    def ask(case):
        request = Request(**case.as_transport_kwargs(base_url="http://antiphon"), auth=None).prepare()
        url = urlsplit(request.url)
        path = unquote(url.path, errors="replace")
        if path.count("/") != case.path.count("/") or "//" in path or path.endswith("/"):
            return  # no id has a slash, so this is another path
        headers = dict(request.headers)
        if mode is GenerationMode.POSITIVE or "Authorization" not in headers:
            headers["Authorization"] = "Bearer secret"
        body = request.body or b""
        body = body if isinstance(body, bytes) else body.encode()
        check(operation, case.path, door.ask(case.method, path, body, url.query, headers.items()))

    ask()


# -- valid bodies, changed ---------------------------------------------------------------------------------------------

FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
VALID = (
    (
        "/v1/chat/completions",
        {
            "model": "counter",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "hello"}], "name": "me"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "c", "content": "4"},
            ],
            "n": 2,
            "stop": ["x"],
            "seed": 1,
            "temperature": 0.5,
            "top_p": 1,
            "max_completion_tokens": 5,
            "logprobs": True,
            "top_logprobs": 2,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.1,
            "tools": [{"type": "function", "function": FUNCTION}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "parallel_tool_calls": False,
            "metadata": {"a": "b"},
        },
    ),
    (
        "/v1/chat/completions",
        {
            "model": "counter",
            "messages": [{"role": "user", "content": "hello"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
            },
        },
    ),
    (
        "/v1/completions",
        {"model": "counter", "prompt": "one", "n": 2, "logprobs": 2, "stop": "x", "max_tokens": 5, "stream": True},
    ),
    ("/v1/completions", {"model": "counter", "prompt": ["one"], "best_of": 1, "temperature": 0, "echo": False}),
    ("/v1/embeddings", {"model": "vectors", "input": ["a", "b c"], "encoding_format": "base64", "user": "u"}),
    ("/v1/embeddings", {"model": "vectors", "input": [1, 2, 3], "encoding_format": "float"}),
    (
        "/v1/responses",
        {
            "model": "counter",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "4"},
            ],
            "instructions": "be brief",
            "tools": [{"type": "function", **FUNCTION, "strict": True}],
            "tool_choice": "required",
            "include": ["message.output_text.logprobs"],
            "top_logprobs": 2,
            "max_output_tokens": 5,
            "metadata": {"a": "b"},
            "store": True,
        },
    ),
    (
        "/v1/responses",
        {
            "model": "counter",
            "input": "hello",
            "stream": True,
            "text": {
                "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}},
                "verbosity": "medium",
            },
            "reasoning": {"effort": "none"},
            "store": False,
        },
    ),
    ("/v1/responses", {"model": "counter", "input": "hello", "background": True, "previous_response_id": None}),
    ("/v1/audio/speech", {"model": "tone", "input": "Hello there.", "voice": "alloy", "response_format": "flac"}),
    (
        "/v1/audio/speech",
        {
            "model": "tone",
            "input": "It is 3.5 km, or $4.",
            "voice": {"id": "alloy"},
            "response_format": "pcm",
            "speed": 2,
            "stream_format": "sse",
            "instructions": "",
        },
    ),
)
ODD = (
    *(None, True, False, 0, -1, 1, 128, 129, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, math.nan, math.inf),
    *(
        "",
        " ",
        "x" * 300,
        "\0",
        "\ud800",
        "é\u202e😀",
        "[DONE]",
        "none",
        "auto",
        "null",
        "counter",
        "vectors",
        "tensors",
        "tone",
    ),
    *([], {}, [[]], [None], [{}], {"": None}, {"type": "function"}, {"a": {"b": ["c"]}}),
)


def places(value):
    """Every container in it and each of its keys."""
    found = []
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found.append((value, key))
            found += places(value[key])
    return found


def mutate(value, dice):
    """Something in it is different: gone, there twice, of another type, under another name, or odd."""
    found = places(value)
    if not found:
        return dice.choice(ODD)
    holder, key = dice.choice(found)
    match dice.randrange(7):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[key + dice.choice(("", "_", "\0", "x" * 100))] = dice.choice(ODD)
        case 2 if isinstance(holder, list):
            holder.extend(copy.deepcopy(holder) * dice.choice((1, 40)))
        case 3:
            holder[key] = [holder[key]]
        case 4:
            other, name = dice.choice(found)
            holder[key] = copy.deepcopy(other[name])
        case 5:
            for _ in range(3):
                holder[key] = {"a": holder[key]} if dice.random() < 0.5 else [holder[key]]
        case _:
            holder[key] = copy.deepcopy(dice.choice(ODD))
    return value


def damage(body, dice):
    """Bytes that are no JSON any more, mostly."""
    at = dice.randrange(len(body) + 1)
    match dice.randrange(5):
        case 0:
            return body[:at]
        case 3:
            depth = dice.choice((100, 5000))
            return body[:-1] + b',"x":' + b'[{"a":' * depth + b"1" + b"}]" * depth + b"}"
        case 1:
            return body[:at] + bytes([dice.randrange(256)]) + body[at + 1 :]
        case 2:
            return (
                body[:at]
                + dice.choice((b"\xff\xfe", b"\xed\xa0\x80", b'"', b"}", b"\\u0000", b"//", b"NaN"))
                + body[at:]
            )
        case _:
            return body + body


def encoded(value):
    return json.dumps(value, ensure_ascii=True).encode()


def mutant(number):
    """Each is made from its number, so that a failure names what to reproduce."""
    dice = random.Random(number)
    path, body = dice.choice(VALID)
    value = copy.deepcopy(body)
    for _ in range(dice.randrange(5)):
        value = mutate(value, dice)
    sent = encoded(value)
    return path, damage(sent, dice) if dice.random() < 0.1 else sent


def test_mutations_of_valid_bodies(door):
    for number in range(MUTATIONS):
        path, body = mutant(number)
        try:
            check(f"POST {path}", path, door.ask("POST", path, body, headers=[("authorization", "Bearer secret")]))
        except Exception as error:
            raise AssertionError(f"mutant {number}: {error}") from error


@pytest.mark.parametrize(("path", "body"), VALID)
def test_the_bodies_are_valid(door, path, body):
    answer = door.ask("POST", path, encoded(body), headers=[("authorization", "Bearer secret")])
    assert answer[0] == 200, answer
    check(f"POST {path}", path, answer)
