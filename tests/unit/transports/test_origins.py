"""What browsers are told about calls by pages."""

import re

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from antiphon.transports.origins import Origins

OPEN = re.compile("/v1/chat/completions$|/v1/models$")
PAGE = "https://page.example"
ASKS = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
}


def client(*allowed: str) -> TestClient:
    return TestClient(Origins(PlainTextResponse("said"), allowed, OPEN))


def told(answer):
    return {name: value for name, value in answer.headers.items() if name.startswith("access-") or name == "vary"}


def test_a_page_of_any_origin_may_call():
    assert told(client("*").options("/v1/chat/completions", headers=ASKS)) == {
        "access-control-allow-origin": "*",
        "access-control-expose-headers": "*",
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "authorization,content-type,x-stainless-os",
        "access-control-max-age": "7200",
    }
    answer = client("*").get("/v1/models", headers={"Origin": PAGE})
    assert told(answer) == {"access-control-allow-origin": "*", "access-control-expose-headers": "*"}
    assert answer.text == "said"


@pytest.mark.parametrize("path", ["/metrics", "/admin/v1/keys", "/healthz"])
def test_no_page_may_call_what_is_for_operators(path):
    assert told(client("*").options(path, headers=ASKS)) == {}
    assert told(client("*").get(path, headers={"Origin": PAGE})) == {}


def test_who_is_no_page_is_told_nothing():
    assert told(client("*").get("/v1/models")) == {}


def test_pages_of_named_origins_alone():
    named = client(PAGE, "https://other.example")
    assert told(named.get("/v1/models", headers={"Origin": PAGE})) == {
        "access-control-allow-origin": PAGE,
        "access-control-expose-headers": "*",
        "vary": "origin",
    }
    assert told(named.options("/v1/models", headers={**ASKS, "Origin": "https://evil.example"})) == {"vary": "origin"}
    assert told(client().options("/v1/models", headers=ASKS)) == {"vary": "origin"}


@pytest.mark.parametrize("names", ["a\tb", "a:b", "é", ""])
def test_what_is_no_list_of_names_is_not_repeated(names):
    answer = client("*").options("/v1/models", headers={**ASKS, "Access-Control-Request-Headers": names.encode()})
    assert "access-control-allow-headers" not in answer.headers


async def echo(scope, receive, send):
    socket = WebSocket(scope, receive, send)
    await socket.accept()
    await socket.close()


@pytest.mark.parametrize(
    ("allowed", "origin", "opens"),
    [
        (["*"], PAGE, True),
        ([PAGE], PAGE, True),
        ([PAGE], "https://evil.example", False),
        ([PAGE], "null", False),
        ([], PAGE, False),
        ([], "http://testserver", True),  # the server's own, which is what some clients name
        ([], "", False),
        ([], None, True),  # no browser
    ],
)
def test_a_page_that_may_not_call_opens_no_socket(allowed, origin, opens):
    server = TestClient(Origins(echo, allowed, OPEN))
    try:
        with server.websocket_connect("/v1/models", headers={} if origin is None else {"Origin": origin}):
            opened = True
    except WebSocketDisconnect:
        opened = False
    assert opened == opens
