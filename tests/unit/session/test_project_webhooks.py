"""ElevenLabs' webhooks of a workspace, from the request to the directory, on fakes."""

import json

import pytest
from elevenlabs.types import WorkspaceCreateWebhookResponseModel, WorkspaceWebhookListResponseModel

from antiphon.core.audit import Author
from antiphon.core.errors import CallerError, NotFound, UnsupportedParameter
from antiphon.core.webhooks import PostFailure
from antiphon.core.wire import Opening
from antiphon.session.webhooks import ProjectWebhooks
from antiphon.surfaces.elevenlabs.webhooks import WEBHOOKS, CreateWebhook, DeleteWebhook, ListWebhooks, UpdateWebhook
from antiphon.testing import FakeClock, FakeDirectory
from antiphon.trust.auth import KeyRing
from antiphon.trust.control import Control
from vendor_types import check

SETTINGS = {"auth_type": "hmac", "name": "mine", "webhook_url": "https://x.example/hook"}


class Workspace:
    """Two projects, the webhooks of which are asked for as ElevenLabs' SDK does."""

    def __init__(self):
        self.clock, directory = FakeClock(), FakeDirectory()
        control = Control(directory)
        for project in ("acme", "other"):
            control.create_project(project, "", 1)
        self.keys = KeyRing(directory, self.clock)
        self.failures = {}
        self.project = "acme"
        self._webhooks = ProjectWebhooks(control, self.keys, self.clock, self.failures)

    async def ask(self, endpoint, body=None, id="", **query):
        opening = Opening("POST", f"{WEBHOOKS}/{id}" if id else WEBHOOKS, tuple(query.items()))
        question = endpoint.ask(opening, b"" if body is None else json.dumps(body).encode())
        self.answer = await self._webhooks.answer(question, self.project, Author("k1", 5))
        return json.loads(self.answer.body)

    async def listed(self):
        return (await self.ask(ListWebhooks(), include_usages="true"))["webhooks"]


@pytest.fixture
def workspace():
    return Workspace()


async def test_one_is_made_changed_and_deleted(workspace):
    made = await workspace.ask(CreateWebhook(), {"settings": SETTINGS | {"request_headers": {"x-a": "b", "x-c": None}}})
    check(WorkspaceCreateWebhookResponseModel, made)
    id = made["webhook_id"]
    (hook,) = workspace.keys.webhooks("acme")  # at once
    assert (hook.secret, hook.settings.headers) == (made["webhook_secret"], (("x-a", "b"),))
    workspace.failures[id] = PostFailure(503, 7_000)
    check(WorkspaceWebhookListResponseModel, {"webhooks": await workspace.listed()})
    (shown,) = await workspace.listed()
    assert (shown["events"], shown["usage"]) == (["speech_to_text"], [{"usage_type": "Speech to Text"}])
    assert (shown["most_recent_failure_error_code"], shown["most_recent_failure_timestamp"]) == (503, 7)
    assert "events" not in (await workspace.ask(ListWebhooks()))["webhooks"][0]
    update = {"is_disabled": False, "name": "ours", "retry_enabled": False, "events": ["flows"]}
    assert await workspace.ask(UpdateWebhook(), update, id) == {"status": "ok"}
    assert dict(workspace.answer.headers)["antiphon-no-effect"] == "events.flows"
    (hook,) = workspace.keys.webhooks("acme")
    assert (hook.name, hook.settings.subscribed, hook.settings.retries) == ("ours", False, False)
    assert hook.settings.headers == (("x-a", "b"),)
    await workspace.ask(UpdateWebhook(), {"is_disabled": True, "name": "ours"}, id)
    assert workspace.keys.webhooks("acme") == []
    (shown,) = await workspace.listed()
    assert (shown["is_disabled"], shown["events"]) == (True, [])
    assert await workspace.ask(DeleteWebhook(), id=id) == {"status": "ok"}
    assert await workspace.listed() == []


async def test_those_of_another_project_are_not_there(workspace):
    id = (await workspace.ask(CreateWebhook(), {"settings": SETTINGS}))["webhook_id"]
    workspace.project = "other"
    assert await workspace.listed() == []
    for endpoint, body in ((DeleteWebhook(), None), (UpdateWebhook(), {"is_disabled": True, "name": "a"})):
        with pytest.raises(NotFound):
            await workspace.ask(endpoint, body, id)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, CallerError),
        ({"settings": SETTINGS | {"auth_type": "oauth2"}}, CallerError),
        ({"settings": SETTINGS | {"webhook_url": "ftp://a"}}, CallerError),
        ({"settings": SETTINGS | {"name": "a" * 201}}, CallerError),
        ({"settings": SETTINGS | {"request_headers": {"host": "a"}}}, CallerError),
        ({"settings": SETTINGS | {"scopes": "a"}}, UnsupportedParameter),
    ],
)
async def test_what_makes_no_sense_is_refused_by_its_name(workspace, body, error):
    with pytest.raises(error) as refused:
        await workspace.ask(CreateWebhook(), body)
    answer = CreateWebhook().refuse(Opening("POST", WEBHOOKS), refused.value)
    assert answer.status == (400 if error is UnsupportedParameter else 422)
    assert b"settings" in answer.body
