"""`/v1/responses` as a WebSocket: one response after the other, on a session's fakes."""

import asyncio
import json

import pytest
from event_loop import later, settle
from vendor import Caller, scope

from antiphon.core.errors import EngineError, InternalError
from antiphon.core.identity import Principal, Scope
from antiphon.core.routing import DialogueRow
from antiphon.core.specs import Message, Role
from antiphon.core.usage import Dimension
from antiphon.core.wire import Keep
from antiphon.session import recent
from antiphon.session.recent import Recents
from antiphon.surfaces.openai.response_socket import ResponsesSocket
from antiphon.transports import succession
from antiphon.transports.uploads import Uploads
from antiphon.transports.websocket import DialogueRoute
from session_house import closed, until

DONE = ("response.completed", "response.incomplete", "response.failed", "error", "response.steer.failed")


class Client:
    """One connection of an SDK."""

    def __init__(self, house, query=b"", key="secret"):
        self.caller = Caller()
        self.caller.says.put_nowait({"type": "websocket.connect"})
        self.uploads = Uploads(each_bytes=100_000, all_bytes=1_000_000)
        row = DialogueRow("/v1/responses", "openai", ResponsesSocket(), Scope.GENERATE)
        route = DialogueRoute(row, house.door, house.clock, self.uploads)
        given = scope("websocket", key=f"Bearer {key}") | {"path": "/v1/responses", "query_string": query}
        self.task = asyncio.create_task(route(given, self.caller.receive, self.caller.send))
        self._read = 0

    def send(self, message):
        text = message if isinstance(message, str) else json.dumps(message)
        self.caller.says.put_nowait({"type": "websocket.receive", "text": text})

    def create(self, text="count", **more):
        self.send({"type": "response.create", "model": "counter", "input": text, **more})

    def cancel(self, id=None):
        self.send({"type": "response.cancel"} | ({"response_id": id} if id else {}))

    def leave(self):
        self.caller.says.put_nowait({"type": "websocket.disconnect", "code": 1000})

    @property
    def events(self):
        return [json.loads(message["text"]) for message in self.caller.sent if message["type"] == "websocket.send"]

    async def answer(self):
        """The events up to the next one that ends an answer."""
        while True:
            unread = self.events[self._read :]
            ends = [place for place, event in enumerate(unread) if event["type"] in DONE]
            if ends:
                self._read += ends[0] + 1
                return unread[: ends[0] + 1]
            await until(lambda: len(self.events) > self._read + len(unread) or self.task.done())  # noqa: B023
            assert not self.task.done() or len(self.events) > self._read + len(unread)

    async def ask(self, text="count", **more):
        self.create(text, **more)
        return (await self.answer())[-1]["response"]

    async def refused(self, **more):
        self.create(**more)
        (event,) = await self.answer()
        assert event["type"] == "error"
        return event["status"], event["error"]["code"], event["error"]["param"]


@pytest.fixture
async def connect(house, monkeypatch):
    clients = []

    def make(**given):
        clients.append(Client(house, **given))
        return clients[-1]

    yield make
    house.generator.gate.set()
    for client in clients:
        client.leave()
        await client.task
        assert client.uploads.held == 0
    await closed()
    await later(monkeypatch, recent.LINGER_S)
    assert house.keeper.recents.held_bytes == 0
    assert 'antiphon_sessions_open{surface="openai"} 1.0' not in house.metrics()


def prompts(house):
    return [spec.prompt for spec, _ in house.generator.calls]


# -- an answer ---------------------------------------------------------------------------------------------------------


async def test_an_answer_is_the_events_of_its_stream(house, connect):
    client = connect()
    client.create()
    events = await client.answer()
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:3]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "one two three four five"
    response = events[-1]["response"]
    assert (response["status"], response["store"]) == ("completed", False)
    assert response["output"][0]["content"][0]["text"] == "one two three four five"
    await closed()
    assert house.tokens()[Dimension.LLM_OUTPUT_TOKENS] == 5


async def test_it_is_durable_before_it_leaves(house, connect):
    client = connect()
    house.ledger.note_gate.clear()
    client.create()
    await until(lambda: [event["type"] for event in client.events][-1:] == ["response.in_progress"])
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(client.events) == 2
    house.ledger.note_gate.set()
    await client.answer()


async def test_one_after_the_other_in_their_order_on_their_streams(house, connect):
    client = connect()
    house.generator.gate.clear()
    client.create("first", stream_id="a")
    client.create("second", stream_id="b")
    client.create("third")
    await until(lambda: house.generator.held)
    assert len(house.generator.calls) == 1
    house.generator.gate.set()
    answers = [await client.answer() for _ in range(3)]
    assert [{event.get("stream_id") for event in events} for events in answers] == [{"a"}, {"b"}, {None}]
    assert [prompt[0].text for prompt in prompts(house)] == ["first", "second", "third"]


async def test_what_http_streams_by_is_taken(connect):
    client = connect()
    response = await client.ask(stream=True, background=False, stream_options={"include_obfuscation": False})
    assert response["status"] == "completed"


async def test_the_address_may_name_the_model(connect):
    client = connect(query=b"model=counter")
    client.send({"type": "response.create", "input": "count"})
    assert (await client.answer())[-1]["response"]["model"] == "counter-2026"


# -- going on ----------------------------------------------------------------------------------------------------------


async def test_goes_on_from_its_own_answers_where_nothing_is_kept(house, connect):
    client = connect()
    first = await client.ask("first")
    second = await client.ask("second", previous_response_id=first["id"], store=False)
    await client.ask("third", previous_response_id=second["id"])
    counted = Message(Role.ASSISTANT, "one two three four five")
    said = [Message(Role.USER, text) for text in ("first", "second", "third")]
    assert prompts(house)[-1] == (said[0], counted, said[1], counted, said[2])
    assert house.tokens()[Dimension.LLM_INPUT_TOKENS] > 10


async def test_what_it_remembers_is_its_own_until_it_ends_and_soon_gone_after(house, connect, monkeypatch):
    client, other = connect(), connect()
    first, passing = await client.ask(), await client.ask(store=False)
    not_found = (400, "previous_response_not_found", "previous_response_id")
    assert await other.refused(previous_response_id=first["id"]) == not_found
    client.leave()
    await client.task
    assert await other.refused(previous_response_id=passing["id"]) == not_found
    assert (await other.ask(previous_response_id=first["id"]))["status"] == "completed"
    await later(monkeypatch, recent.LINGER_S)
    assert await other.refused(previous_response_id=first["id"]) == not_found


async def test_what_is_kept_is_there_for_the_next_connection(house, connect):
    house.keep_s["acme"] = 3600
    first = await connect().ask()
    assert first["store"] is True
    assert (await connect().ask(previous_response_id=first["id"]))["status"] == "completed"
    house.keys.project = "rival"
    assert (await connect().refused(previous_response_id=first["id"]))[0] == 400


async def test_an_answer_may_be_prepared(house, connect):
    client = connect()
    client.create("hear this", instructions="Be brief.", generate=False)
    events = await client.answer()
    assert [event["type"] for event in events] == ["response.created", "response.in_progress", "response.completed"]
    warm = events[-1]["response"]
    assert (warm["output"], warm["usage"]["total_tokens"]) == ([], 0)
    assert house.generator.calls == []
    assert house.ledger.entries == []
    await client.ask("then count", previous_response_id=warm["id"])
    assert prompts(house) == [(Message(Role.USER, "hear this"), Message(Role.USER, "then count"))]
    assert await client.refused(generate=False, model="nobody") == (404, "model_not_found", "model")


async def test_refers_to_items_of_its_own_answers(house, connect):
    client = connect()
    first = await client.ask("first")
    refers = {"type": "item_reference", "id": first["output"][0]["id"]}
    user = {"role": "user", "content": "and on"}
    await client.ask([{"role": "user", "content": "first"}, refers, user])
    assert prompts(house)[-1][1] == Message(Role.ASSISTANT, "one two three four five")
    assert await connect().refused(input=[refers, user]) == (404, "not_found", "input")


# -- the end of an answer ----------------------------------------------------------------------------------------------


async def test_an_answer_is_taken_back_before_it_has_begun(house, connect, monkeypatch):
    """What it refers to may have to be found first."""
    asked, found = asyncio.Event(), asyncio.Event()
    succeed = house.door.succeed

    async def late(*given):
        asked.set()
        await found.wait()
        return await succeed(*given)

    monkeypatch.setattr(house.door, "succeed", late)
    client = connect()
    client.create()
    await asked.wait()
    client.cancel()
    await settle()
    found.set()
    assert (await client.answer())[-1]["response"]["status"] == "cancelled"
    assert (await client.ask())["status"] == "completed"


async def test_an_answer_is_taken_back_together_with_its_request(connect):
    client = connect()
    client.create()
    client.cancel()
    client.create()
    ends = [(await client.answer())[-1]["response"]["status"] for _ in range(2)]
    assert ends == ["cancelled", "completed"]


@pytest.mark.parametrize("named", [True, False])
async def test_an_answer_is_taken_back(house, connect, named):
    client = connect()
    house.generator.holds_at = 2
    house.generator.gate.clear()
    client.create()
    await until(lambda: house.generator.held)
    client.cancel(client.events[0]["response"]["id"] if named else None)
    events = await client.answer()
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["status"] == "cancelled"
    assert house.generator.cancelled
    house.generator.gate.set()
    client.cancel(events[0]["response"]["id"])  # too late, which nobody need be told
    assert (await client.ask())["status"] == "completed"
    assert [event["type"] for event in client.events].count("error") == 0
    client.cancel("resp_other")
    (event,) = await client.answer()
    assert (event["status"], event["error"]["param"]) == (404, "response_id")


async def test_who_leaves_ends_the_work_and_pays_for_what_was_sent(house, connect):
    client = connect()
    house.generator.holds_at = 2
    house.generator.gate.clear()
    client.create()
    client.create()
    await until(lambda: house.generator.held)
    client.leave()
    await client.task
    assert house.generator.cancelled
    assert len(house.generator.calls) == 1
    await closed()
    assert house.tokens()[Dimension.LLM_OUTPUT_TOKENS] == 2


async def test_a_failed_engine_fails_the_answer_once(house, connect):
    client = connect()
    house.generator.error = EngineError("it broke")
    client.create()
    assert (await client.answer())[-1]["response"]["error"] == {"code": "server_error", "message": "it broke"}
    house.generator.error = None
    client.create()
    events = await client.answer()
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"


async def test_what_cannot_be_kept_is_not_given(house, connect, monkeypatch):
    house.keep_s["acme"] = 3600

    async def fail(*_):
        raise InternalError("the disk is full")

    monkeypatch.setattr(house.kept, "put", fail)
    client = connect()
    client.create()
    assert (await client.answer())[-1]["type"] == "response.failed"
    assert await client.refused(generate=False) == (500, "internal_error", None)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": None}, (400, "invalid_value", "model")),
        ({"model": "nobody"}, (404, "model_not_found", "model")),
        ({"input": None}, (400, "invalid_value", "input")),
        ({"input": [{"role": "nobody", "content": ""}]}, (400, "unsupported_parameter", "input[0].role")),
        ({"background": True}, (400, "unsupported_parameter", "background")),
        ({"store": True}, (400, "unsupported_parameter", "store")),
        ({"type": "response.begin"}, (400, "invalid_value", "type")),
        ({"type": None}, (400, "invalid_value", "type")),
        ({"stream_id": "a" * 65}, (400, "invalid_value", "stream_id")),
    ],
)
async def test_a_request_that_makes_no_sense_ends_nothing(connect, given, said):
    client = connect()
    assert await client.refused(**given) == said
    assert (await client.ask())["status"] == "completed"


async def test_refusals_keep_the_order_and_the_stream(connect):
    client = connect()
    client.create(stream_id="a")
    client.send("{")
    client.create(stream_id="b", top_p=7)
    client.send("[]")
    client.create()
    ends = [(await client.answer())[-1] for _ in range(5)]
    assert [end["type"] for end in ends] == ["response.completed", "error", "error", "error", "response.completed"]
    assert [end.get("stream_id") for end in ends] == ["a", None, "b", None, None]


async def test_steering_is_refused_in_its_own_words(connect):
    client = connect()
    client.send({"type": "response.steer", "previous_response_id": "resp_1", "input": "faster"})
    (event,) = await client.answer()
    assert event["error"]["code"] == "steering_not_supported"
    assert event["steer"] == {"input": "faster", "previous_response_id": "resp_1"}


async def test_too_much_that_waits_is_refused(house, connect, monkeypatch):
    monkeypatch.setattr(succession, "MOST_WAITING", 2)
    client = connect()
    house.generator.gate.clear()
    client.create()
    await until(lambda: house.generator.held)
    for _ in range(3):
        client.create()
    (event,) = [each for each in await client.answer() if each["type"] == "error"]
    assert (event["status"], event["error"]["code"]) == (429, "rate_limit_exceeded")
    assert event["error"]["headers"] == {"retry-after": "1"}
    house.generator.gate.set()
    assert [(await client.answer())[-1]["type"] for _ in range(3)] == ["response.completed"] * 3


async def test_what_waits_is_counted_in_bytes(house, connect, monkeypatch):
    monkeypatch.setattr(ResponsesSocket, "max_message_bytes", 10_000)
    client = connect()
    house.generator.gate.clear()
    client.create()
    await until(lambda: house.generator.held)
    client.send(json.dumps({"type": "response.create", "input": "語" * 4_000}, ensure_ascii=False))
    (event,) = [each for each in await client.answer() if each["type"] == "error"]
    assert (event["status"], event["error"]["code"]) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize(("given", "status"), [({"key": "other"}, 401), ({"query": b"voice=x"}, 400)])
async def test_a_connection_that_is_not_opened(connect, given, status):
    client = connect(**given)
    await client.task
    assert client.caller.answer[0] == status
    assert json.loads(client.caller.answer[1])["error"]["message"]


# -- the end of a connection -------------------------------------------------------------------------------------------


def end(client):
    return client.events[-1]["error"]["code"], client.caller.sent[-1]["code"]


async def test_a_revoked_key_ends_it(house, connect):
    client = connect()
    await client.ask()
    house.keys.revoked = True
    watching = asyncio.create_task(house.sessions.all.watch())
    await client.task
    watching.cancel()
    assert end(client) == ("invalid_api_key", 1008)


async def test_at_a_stop_the_answer_is_given_first(house, connect):
    client = connect()
    house.generator.gate.clear()
    client.create()
    await until(lambda: house.generator.held)
    stopping = asyncio.create_task(house.sessions.all.drain(5))
    await until(lambda: house.sessions.all.draining)
    house.generator.gate.set()
    await client.task
    await stopping
    assert [event["type"] for event in client.events[-2:]] == ["response.completed", "error"]
    assert end(client) == ("draining", 1013)


async def test_it_does_not_last_for_ever(house, connect):
    object.__setattr__(house.sessions._bounds, "conversation_s", 0)
    client = connect()
    await client.task
    assert end(client) == ("websocket_connection_limit_reached", 1000)


# -- what is remembered ------------------------------------------------------------------------------------------------


async def test_memory_is_bounded_for_one_connection_and_for_all():
    all = Recents(most_answers=3, most_bytes=100, all_bytes=150)
    one, two, three = (all.open(who) for who in (whose("acme"), whose("acme"), whose("rival")))

    for id in "abcd":
        one.put(Keep(id, bytes(10)), passing=True)
    assert held(one, *"abcd") == ["b", "c", "d"]
    one.put(Keep("e", bytes(90)), passing=True)
    assert held(one, *"bcde") == ["d", "e"]
    one.put(Keep("f", bytes(101), (Message(Role.USER, "x"),)), passing=True)
    assert held(one, *"def") == ["d", "e"]
    three.put(Keep("r", bytes(40)), passing=True)
    two.put(Keep("t", bytes(60)), passing=True)  # who has most forgets its oldest
    assert (held(one, "d", "e"), held(two, "t"), held(three, "r")) == ([], ["t"], ["r"])
    assert all.held_bytes == 100
    for each in (one, two, three):
        each.close()
    assert all.held_bytes == 0


async def test_what_may_be_stored_lasts_a_while_beyond_its_connection_for_the_same_key(monkeypatch):
    all = Recents()
    first = all.open(whose("acme"))
    first.put(Keep("stays", b"12345"), passing=False)
    first.put(Keep("goes", b"12345"), passing=True)
    first.close()
    second, other = all.open(whose("acme")), all.open(whose("rival"))
    assert (held(second, "stays", "goes"), held(other, "stays", "goes")) == (["stays"], [])
    await later(monkeypatch, recent.LINGER_S)
    assert held(second, "stays") == []
    assert all.held_bytes == 0


def whose(project):
    return Principal(project, f"key of {project}", frozenset())


def held(recent, *ids):
    return [id for id in ids if recent.get(id)]
