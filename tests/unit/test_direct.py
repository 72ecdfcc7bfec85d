"""What the router need not look for."""

import pytest
from starlette.applications import Starlette

from antiphon.routes import ROUTES
from antiphon.transports import table
from antiphon.transports.entrance import Direct
from antiphon.transports.uploads import Uploads
from session_house import House


class Router(Starlette):
    """Says what came to it."""

    def __init__(self, routes):
        super().__init__(routes=routes)
        self.asked = []

    async def __call__(self, scope, receive, send):
        self.asked.append((scope["type"], scope["path"]))


@pytest.fixture
async def router():
    house = House()
    return Router(table.routes(ROUTES, house.door, house.clock, Uploads(1 << 20, 1 << 24)))


async def ask(app, method, path, kind="http"):
    answer = []

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        answer.append(message)

    scope = {"type": kind, "method": method, "path": path, "query_string": b"", "headers": []}
    await app(scope, receive, send)
    return answer


async def test_a_path_that_the_table_names_whole_goes_there_at_once(router):
    answer = await ask(Direct(router), "POST", "/v1/chat/completions")
    assert router.asked == []
    assert answer[0]["status"] == 401  # by OpenAI's endpoint: there is no key


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/v1/chat/completions", "http"),
        ("POST", "/v1/chat/completions/", "http"),
        ("POST", "/openai/deployments/mine/chat/completions", "http"),
        ("GET", "/v1/models", "http"),
        ("POST", "/v1/chat/completions", "websocket"),
    ],
)
async def test_all_else_is_the_routers(router, method, path, kind):
    await ask(Direct(router), method, path, kind)
    assert router.asked == [(kind, path)]
