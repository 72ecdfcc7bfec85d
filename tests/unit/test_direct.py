"""What the router need not look for."""

import pytest
from starlette.applications import Starlette

from antiphon.routes import ROUTES, whose
from antiphon.transports import table
from antiphon.transports.entrance import Direct, Stray
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


@pytest.fixture
def direct(router):
    return Direct(router, Stray(router.routes, whose))


async def ask(app, method, path, kind="http"):
    answer = []

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        answer.append(message)

    scope = {"type": kind, "method": method, "path": path, "query_string": b"", "headers": []}
    await app(scope, receive, send)
    return answer


async def test_a_path_that_the_table_names_whole_goes_there_at_once(router, direct):
    answer = await ask(direct, "POST", "/v1/chat/completions")
    assert router.asked == []
    assert answer[0]["status"] == 401  # by OpenAI's endpoint: there is no key


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/v1/chat/completions", "http"),
        ("POST", "/openai/deployments/mine/chat/completions", "http"),
        ("GET", "/v1/models", "http"),
        ("POST", "/v1/chat/completions", "websocket"),
    ],
)
async def test_other_known_paths_are_the_routers(router, direct, method, path, kind):
    await ask(direct, method, path, kind)
    assert router.asked == [(kind, path)]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        *(("/x", "http"), ("/v1/chat/completions/", "http"), ("/v1/chat", "http"), ("/v1/responses/a/b/c", "http")),
        *(("/v1/listen/more", "websocket"), ("/", "http")),
    ],
)
async def test_unknown_paths_are_answered_without_the_router(router, direct, path, kind):
    answer = await ask(direct, "GET", path, kind)
    assert router.asked == []
    assert answer[0]["status"] == 404


async def test_the_servers_own_life_is_the_routers(router, direct):
    await ask(direct, "", "", "lifespan")
    assert router.asked == [("lifespan", "")]
