"""Paths that are not there, and methods that a path has not."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from antiphon.core.wire import Opening
from antiphon.routes import whose
from antiphon.transports.entrance import enter


async def live(socket):
    await socket.accept()
    await socket.close()


def here(request):
    return PlainTextResponse(f"{request.method} {request.url.path}")


@pytest.fixture
def client():
    routes = [
        Route("/", here),
        Route("/v1/models", here),
        Route("/v1/responses/{id}", here, methods=["GET"]),
        Route("/v1/responses/{id}", here, methods=["DELETE"]),
        WebSocketRoute("/v1/listen", live),
        Route("/v1/listen", here, methods=["POST"]),
    ]
    return TestClient(enter(routes, whose), follow_redirects=False)


def openai(answer):
    return answer["error"]["message"], answer["error"]["code"]


def deepgram(answer):
    assert set(answer) == {"err_code", "err_msg", "request_id"}
    return answer["err_msg"], answer["err_code"].lower()


def elevenlabs(answer):
    return answer["detail"]["message"], answer["detail"]["code"]


def open_inference(answer):
    assert set(answer) == {"error"}
    return answer["error"], "not_found"


def amazon(answer):
    assert set(answer) == {"Message"}
    return answer["Message"], "not_found"


assemblyai = open_inference  # they have the same shape
ELEVENLABS, TOKEN = {"xi-api-key": "k"}, {"authorization": "Token k"}
AWS = {"authorization": "AWS4-HMAC-SHA256 Credential=k", "x-amz-target": "Transcribe.ListTranscriptionJobs"}


@pytest.mark.parametrize(
    ("path", "headers", "words"),
    [
        ("/v1/images/generations", {}, openai),
        ("/v1/images/generations", TOKEN, deepgram),
        ("/v1/images/generations", ELEVENLABS, elevenlabs),
        ("/openai/deployments/x/images", TOKEN, openai),
        ("/v1/history", {}, elevenlabs),
        ("/v1/speech-to-text/transcripts/1", {"authorization": "Bearer k"}, elevenlabs),
        ("/v1/auth/token", {}, deepgram),
        ("/v1/listen/x", {}, deepgram),
        ("/v1/listens", {}, openai),
        ("/v1/projects/1/keys", TOKEN, deepgram),
        ("/v2/repository/index", {}, open_inference),
        ("/v2/transcript", {}, assemblyai),
        ("/v2/transcript/1/srt", ELEVENLABS, assemblyai),
        ("/v3/token/1", {}, assemblyai),
        ("/v1/transcribe/1", TOKEN, assemblyai),
        ("/v2/phone-numbers", {}, elevenlabs),
        ("/medical-scribe-stream/1", AWS, amazon),
        ("/stream-transcription/1", {}, amazon),
        ("/nowhere", {}, openai),
        ("/v1/" + "x" * 5000, {}, openai),
        ("/v1/%2e%2e/%00", {}, openai),
    ],
)
def test_a_path_that_is_not_there(client, path, headers, words):
    answer = client.get(path, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    message, code = words(answer.json())
    assert message.startswith("Invalid URL (GET /")
    assert len(message) < 300
    assert code == "not_found"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "words", "allow"),
    [
        ("DELETE", "/v1/models", openai, "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/responses/a", openai, "DELETE, GET, HEAD, OPTIONS"),
        ("GET", "/v1/listen", deepgram, "OPTIONS, POST"),
        ("BREW", "/v1/models/", openai, "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_a_path_has_not(client, method, path, words, allow):
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert words(answer.json())[1] == "method_not_allowed"
    assert answer.headers["x-request-id"]


def test_head_and_options(client):
    assert client.head("/v1/models").status_code == 200
    answer = client.options("/v1/responses/a")
    assert (answer.status_code, answer.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS")
    assert client.options("/nowhere").status_code == 404


def test_a_slash_at_the_end_does_not_redirect(client):
    assert client.get("/v1/models/").text == "GET /v1/models"
    assert client.post("/v1/listen//", content=b"x").text == "POST /v1/listen"
    assert client.post("http://testserver//v1/listen", content=b"x").text == "POST /v1/listen"
    assert client.get("/").status_code == 200
    assert client.get("/nowhere/").status_code == 404
    with client.websocket_connect("/v1/listen/") as socket, pytest.raises(WebSocketDisconnect):
        socket.receive_text()


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/models"])
def test_a_websocket_that_is_not_there_is_refused_with_a_body(client, path):
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect(path, headers=TOKEN):
        pass
    assert refused.value.status_code == 404
    assert deepgram(refused.value.json()) == (f"Invalid URL (GET {path})", "not_found")
    assert refused.value.headers["x-request-id"]


def test_a_browsers_subprotocol_says_whose_it_is():
    browser = Opening("GET", "/v1/other", subprotocols=("token", "key"))
    assert type(whose(browser)) is type(whose(Opening("GET", "/v1/listen/other")))
