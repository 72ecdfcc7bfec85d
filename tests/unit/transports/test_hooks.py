import asyncio
from typing import ClassVar

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from antiphon.core.errors import CapacityError, Unauthenticated
from antiphon.transports import hooks
from antiphon.transports.hooks import Hook


def client(receive):
    hook = Hook(receive, "x-signature", 10)
    return TestClient(Starlette(routes=[Route("/hook", hook.answer, methods=["POST"])])), hook


def test_a_body_is_given_with_its_signature():
    seen = []

    async def receive(body, signature):
        seen.append((body, signature))

    called, hook = client(receive)
    assert called.post("/hook", content=b"0123456789", headers={"x-signature": "s"}).status_code == 204
    assert called.post("/hook").status_code == 204
    assert called.get("/hook").status_code == 405
    assert seen == [(b"0123456789", "s"), (b"", "")]
    assert not hook._reading


def test_a_body_that_is_too_large_is_not_given():
    async def receive(body, signature):
        raise AssertionError

    called, hook = client(receive)
    assert called.post("/hook", content=b"0123456789A").status_code == 413
    assert not hook._reading


@pytest.mark.parametrize(
    ("error", "status", "after"),
    [(Unauthenticated("no"), 401, None), (CapacityError("later", retry_after_s=60), 429, "60")],
)
def test_what_is_not_taken_is_told(error, status, after):
    async def receive(body, signature):
        raise error

    answer = client(receive)[0].post("/hook", content=b"x")
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, after)
    assert answer.json()["error"]["code"] == error.code


class Slow:
    """A request whose body never comes."""

    headers: ClassVar = {}

    async def stream(self):
        await asyncio.Event().wait()
        yield b""


class Prompt(Slow):
    async def stream(self):
        yield b"x"


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(hooks, "BODY_S", 0.01)
    hook = Hook(None, "x-signature", 10)
    assert asyncio.run(hook.answer(Slow())).status_code == 408


async def test_bodies_that_do_not_come_are_in_nobodys_way():
    """Anybody may send one."""

    async def receive(body, signature):
        pass

    hook = Hook(receive, "x-signature", 10)
    slow = [asyncio.create_task(hook.answer(Slow())) for _ in range(hooks.AT_ONCE)]
    await asyncio.sleep(0)
    assert (await hook.answer(Prompt())).status_code == 204
    assert (await slow[0]).status_code == 408
    assert not any(each.done() for each in slow[1:])
    for each in slow:
        each.cancel()
