"""Paths that are not there, and methods that a path has not."""

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from antiphon.app import astray


@pytest.fixture
def client():
    routes = [Route("/v1/models", lambda _: PlainTextResponse("ok"))]
    return TestClient(Starlette(routes=routes, exception_handlers={HTTPException: astray}))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/images/generations", 404),
        ("GET", "/openai/deployments/x/images", 404),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_where_an_sdk_may_stray_it_is_told_in_its_own_words(client, method, path, status):
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    error = {"message": f"Invalid URL ({method} {path})", "type": "invalid_request_error", "param": None}
    assert answer.json() == {"error": error | {"code": "not_found"}}
    assert ("allow" in answer.headers) is (status == 405)


def test_elsewhere_the_answer_is_plain(client):
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.text) == (404, "Not Found")
