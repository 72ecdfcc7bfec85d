"""Callers of a language model are not felt by each other: malformed calls by hundreds of ways, a killed engine, and a
flood of one project's.
"""

import asyncio
import contextlib
import datetime
import json
import os
import signal
import time
from pathlib import Path

import aiohttp
import pytest
from callers import children, http, metric

from antiphon.core.identity import USUAL_SCOPES
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.trust.control import Control

pytestmark = pytest.mark.xdist_group("faults")
MODEL = "smollm2-135m-instruct"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 2, "temperature": 0}
READY_S = 2.0  # from then on until the first answer
FAILURES = ("antiphon_backend_failures_total", "antiphon_engine_restarts_total")


async def status(session, body, path="/v1/chat/completions"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with session.post(path, data=data, headers={"Content-Type": "application/json"}) as response:
        await response.read()
        return response.status


# -- what a caller does wrong ------------------------------------------------------------------------------------------


def with_tool(schema, **more):
    """`schema` is JSON text, for not all of it can be written otherwise."""
    tool = {"type": "function", "function": {"name": "f", "parameters": "@"}}
    return json.dumps(ASK | {"tools": [tool]} | more).replace('"@"', schema).encode()


def with_format(schema):
    form = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": "@"}}
    return json.dumps(ASK | {"response_format": form}).replace('"@"', schema).encode()


def of(kind, **asserts):
    return json.dumps({"type": "object", "properties": {"a": {"type": kind} | asserts}, "required": ["a"]})


def called_with(arguments):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    said = [*ASK["messages"], {"role": "assistant", "content": None, "tool_calls": [call]}]
    return ASK | {"messages": [*said, {"role": "tool", "tool_call_id": "c", "content": "1"}]}


DEEP = "[" * 300 + "]" * 300
MALFORMED = {
    "a bound of 65 bits": with_tool(of("integer", maximum=2**64)),
    "a bound of 65 bits, enforced": with_format(of("integer", maximum=2**64)),
    "a negative bound of 65 bits": with_tool(of("integer", minimum=-(2**64))),
    "a default of 301 digits": with_tool(of("integer", default=10**300)),
    "a default of 5000 digits": with_tool(of("integer", default="@").replace('"@"', "1" + "0" * 5000)),
    "an infinite bound": with_format(of("number", maximum="@").replace('"@"', "1e999")),
    "a constant of 65 bits": with_format(of("integer", const=2**64)),
    "an infinite constant": with_format(of("number", const="@").replace('"@"', "1e999")),
    "a deep constant": with_format(of("array", const="@").replace('"@"', DEEP)),
    "a deep default": with_tool(of("array", default="@").replace('"@"', DEEP)),
    "half a surrogate": with_tool('{"type": "object", "properties": {"\\ud800": {"type": "string"}}}'),
    "no pattern": with_format(of("string", pattern="(")),
    "a deep pattern": with_format(of("string", pattern="(" * 3000 + "a" + ")" * 3000)),
    "patterns that count too much": with_format(
        json.dumps({"type": "object", "properties": {f"p{n}": {"type": "string", "maxLength": 128} for n in range(50)}})
    ),
    "an enum of 100,000": with_format(of("integer", enum=list(range(100_000)))),
    "2000 properties": with_format(
        json.dumps({"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(2000)}})
    ),
    "a seed of 65 bits": ASK | {"seed": 2**64},
    "too many tokens": ASK | {"max_tokens": 2**31},
    "a bias": ASK | {"logit_bias": {"99999999999999999999": 1}},
    "an empty stop text": ASK | {"stop": [""]},
}


@pytest.mark.parametrize("form", MALFORMED)
async def test_a_malformed_call_is_its_callers_alone(server, form):
    async with http(server) as session:
        counted = [await metric(session, name) for name in FAILURES]
        for _ in range(3):
            assert await status(session, MALFORMED[form]) == 400
            assert await status(session, ASK) == 200
        assert await asyncio.gather(*(status(session, MALFORMED[form]) for _ in range(3))) == [400] * 3
        assert await asyncio.gather(*(status(session, ASK) for _ in range(4))) == [200] * 4
        assert [await metric(session, name) for name in FAILURES] == counted


@pytest.mark.parametrize("arguments", ["{", "[" * 1100, '{"a": 18446744073709551616}', '{"a": 1e999}'])
async def test_what_a_model_is_said_to_have_called_may_be_anything(server, arguments):
    async with http(server) as session:
        assert await status(session, called_with(arguments)) == 200


# -- a killed engine ---------------------------------------------------------------------------------------------------


def language_worker(server):
    return next(pid for pid in children(server.pid) if b"openvino.worker" in Path(f"/proc/{pid}/cmdline").read_bytes())


def ready_at(server):
    """When its process said last that it was."""
    lines = [json.loads(line) for line in (server.data_dir / "log").read_text().splitlines() if line.startswith("{")]
    ready = [line["at"] for line in lines if line["message"] == "the language model's process is ready"]
    return datetime.datetime.fromisoformat(ready[-1]).timestamp()


async def test_after_a_kill_the_first_answer_comes_as_soon_as_the_model_is_loaded(server):
    async with http(server) as session:
        assert await status(session, ASK) == 200
        killed_s = time.time()
        os.kill(language_worker(server), signal.SIGKILL)
        promised = []  # by refusals: when, by the clock
        async with asyncio.timeout(90):
            while True:
                begun_s = time.time()
                async with session.post("/v1/chat/completions", json=ASK) as response:
                    await response.read()
                    if response.status == 200:
                        break
                    assert response.status in (502, 503)
                    promised.append(begun_s + int(response.headers["Retry-After"]))
                await asyncio.sleep(0.1)
        assert promised
        answered_s = time.time()
        assert answered_s - ready_at(server) < READY_S
        assert ready_at(server) > killed_s


# -- a flood -----------------------------------------------------------------------------------------------------------


def another_key(server):
    """A key of another project."""
    control = Control(SqliteDirectory(server.data_dir))
    now = time.time_ns() // 1_000_000
    control.create_project("other", "", now)
    return control.create_key("other", "", USUAL_SCOPES, now, None)[1]


async def test_a_flood_of_one_project_keeps_no_other_waiting(server):
    key = another_key(server)
    long = ASK | {"max_tokens": 150, "messages": [{"role": "user", "content": "Tell me a very long story."}]}
    unbounded = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.base_url, connector=unbounded) as session, http(server) as other:
        session.headers["Authorization"] = f"Bearer {server.api_key}"
        other.headers["Authorization"] = f"Bearer {key}"
        flood = [asyncio.create_task(status(session, long)) for _ in range(300)]
        try:
            await asyncio.sleep(2)  # and so long until a running server knows a new key
            for _ in range(3):
                assert await status(other, ASK) == 200
            assert sum(task.done() and task.result() == 200 for task in flood) < len(flood) / 2  # it was not its turn
        finally:
            for task in flood:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*flood, return_exceptions=True)
