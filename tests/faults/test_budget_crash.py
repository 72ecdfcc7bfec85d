"""A server with a hard budget of money and an export is killed under load, again and again: what was reserved is free
again, no more is spent than there was, and the receiver's sum is the ledger's.

`ANTIPHON_KILLS` sets how often the ledger's own tests kill; a server is killed once for 25 of those.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
from collections import Counter

import aiohttp
import pytest
from aiohttp import web
from callers import http, rows, until

from antiphon.cli.keys import now_unix_ms, open_control
from antiphon.core.identity import USUAL_SCOPES
from antiphon.foundation import SystemClock
from receivers import FakeStripe, behind
from serving import Server, start

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.long]
KILLS = max(2, int(os.environ.get("ANTIPHON_KILLS", "50")) // 25)
TOKENS = 40  # of a call at most; each costs one of the currency
BUDGET = 500 * (KILLS + 1)
LOST = 0.2  # of the receiver's answers
GAP_S = 0.005  # between two tokens
ENDED = "insufficient_quota"
BOOK = """
book = "list"
version = "1"
currency = "USD"
from = 2026-01-01T00:00:00Z
rounding = { mode = "half_up", per = "session" }
not_charged = ["llm.input_tokens", "llm.cached_input_tokens", "llm.reasoning_tokens"]
[[price]]
id = "output"
dimension = "llm.output_tokens"
amount = "1"
per = 1
"""
SETTINGS = """
[models]
"gpt-4o-mini" = {{ engines = ["upstream"] }}
[engines.upstream]
kind = "openai"
server = "vllm"
url = "{url}"
model = "m"
[pricing]
books = ["{book}"]
[export.stripe]
kind = "stripe"
interval_s = 1
start = "beginning"
url = "{url}"
[export.stripe.meters]
tokens = {{ dimension = "llm.output_tokens" }}
"""


class Beside:
    """What the server talks to: a language model's server, and Stripe, a part of whose answers is lost."""

    def __init__(self):
        self.stripe = FakeStripe(SystemClock())
        self.stripe.add_meter("tokens")

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._generate)
        app.router.add_route("*", "/{path:.*}", behind(self.stripe, LOST))
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error):
        await self._runner.cleanup()

    async def _generate(self, request):
        """As many tokens as may be, one by one."""
        asked = await request.json()
        tokens = asked.get("max_completion_tokens") or asked["max_tokens"]
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        with contextlib.suppress(ConnectionError):
            await answer.prepare(request)
            for n in range(tokens):
                await answer.write(_event([{"index": 0, "delta": {"content": f" {n}"}, "finish_reason": None}]))
                await asyncio.sleep(GAP_S)
            await answer.write(_event([{"index": 0, "delta": {}, "finish_reason": "length"}]))
            usage = {"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": tokens + 3}
            await answer.write(_event([], usage=usage) + b"data: [DONE]\n\n")
        return answer


def _event(choices, **more):
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


async def ask(session, tokens, received):
    """A stream of so many tokens; the status, or the code of a refusal. `received` counts them as they come."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a"}], "max_completion_tokens": tokens}
    async with session.post("/v1/chat/completions", json={**body, "stream": True}) as answer:
        if answer.status != 200:
            return (await answer.json())["error"]["code"]
        async for line in answer.content:
            received["tokens"] += line.count(b'"content":" ')
        return 200


async def caller(session, number, received):
    """One call after the other, until the server dies or the budget has ended."""
    chance = random.Random(number)
    with contextlib.suppress(OSError, EOFError, aiohttp.ClientError):
        while await ask(session, chance.randrange(1, TOKENS), received) != ENDED:
            received["calls"] += 1


async def test_killed_servers_spend_what_there_is_and_no_more_and_export_it_once(tmp_path, models, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_1")
    data, book = tmp_path / "data", tmp_path / "list.toml"
    data.mkdir(mode=0o700)
    book.write_text(BOOK)
    control = open_control(None, str(data))
    control.create_project(
        "acme", "", now_unix_ms(), budgets=f"credit money {BUDGET} month", stripe_customer="cus_acme"
    )
    _, key = control.create_key("acme", "", USUAL_SCOPES, now_unix_ms())
    chance, received = random.Random(7), Counter()
    async with Beside() as beside:
        settings = SETTINGS.format(url=beside.url, book=book)
        for number in range(KILLS):
            process, url = await asyncio.to_thread(start, data, models, settings)
            async with http(Server(url, key, data, process.pid)) as session:
                calling = [asyncio.create_task(caller(session, 100 * number + n, received)) for n in range(8)]
                before = received["tokens"]
                await until(lambda before=before: _more(received, before), 20)
                await asyncio.sleep(chance.uniform(0, 1))
                process.kill()
                process.wait()
                await asyncio.gather(*calling)

        process, url = await asyncio.to_thread(start, data, models, settings)
        try:
            async with http(Server(url, key, data, process.pid)) as session:
                # With calls of one token, exactly what is left can be spent: nothing is reserved by those who died.
                for tokens in itertools.chain([TOKENS] * 8, itertools.repeat(1)):
                    said = await ask(session, tokens, received)
                    assert said in (200, ENDED)
                    if said == ENDED and tokens == 1:
                        break
                spent = "SELECT sum(amount) FROM entries WHERE dimension = 'llm.output_tokens'"
                assert rows(data / "ledger.db", spent) == [(BUDGET,)]
                await until(lambda: _counted(beside.stripe), 60)
        finally:
            process.terminate()
        assert process.wait(20) == 0
    assert received["tokens"] <= BUDGET
    assert received["calls"] >= KILLS
    assert beside.stripe.sums == {("cus_acme", "tokens"): BUDGET}
    assert all(len(bodies) == 1 for bodies in beside.stripe.bodies.values())
    assert rows(data / "ledger.db", "SELECT count(*) FROM entries GROUP BY session, sequence HAVING count(*) > 1") == []


async def _more(received, before):
    return received["tokens"] > before + 20


async def _counted(stripe):
    return sum(stripe.sums.values()) >= BUDGET
