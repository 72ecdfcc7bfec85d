"""The management API is made when it is first asked for, and again after a failure."""

import json

from starlette.responses import PlainTextResponse

from antiphon.transports.later import Later


async def ask(app):
    sent = []

    async def send(message):
        sent.append(message)

    await app({"type": "http", "method": "GET", "path": "/keys", "headers": []}, None, send)
    return sent[0]["status"], sent[1]["body"]


async def test_a_failure_is_told_and_not_kept(caplog):
    made = []

    def make():
        made.append(1)
        if len(made) < 3:
            raise ImportError("no descriptor was free")
        return PlainTextResponse("made")

    later = Later(make)
    for _ in range(2):
        status, body = await ask(later)
        assert (status, json.loads(body)["error"]["code"]) == (500, "internal_error")
    for _ in range(2):
        assert await ask(later) == (200, b"made")
    assert len(made) == 3
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
