"""Responses that are kept, through their routes: the official SDK on one side, a session's fakes on the other."""

import asyncio
import json

import httpx
import openai
import pytest
from starlette.applications import Starlette

from antiphon.core.errors import CapacityError, EngineError, InternalError, LedgerUnavailable
from antiphon.core.identity import Principal, Scope
from antiphon.core.specs import Message, Role
from antiphon.core.stores import StorageFull
from antiphon.routes import ROUTES
from antiphon.session import keeping, recent
from antiphon.transports import table
from antiphon.transports.uploads import Upload, Uploads
from session_house import until

HOUR_S = 3600


@pytest.fixture
def uploads():
    return Uploads(each_bytes=100_000, all_bytes=1_000_000)


@pytest.fixture
async def client(house, uploads):
    rows = [row for row in ROUTES if row.path.startswith("/v1/responses")]
    routes = table.routes(rows, house.door, house.clock, uploads)
    transport = httpx.ASGITransport(Starlette(routes=routes))
    async with (
        httpx.AsyncClient(transport=transport) as http,
        openai.AsyncOpenAI(base_url="http://test/v1", api_key="secret", http_client=http, max_retries=0) as made,
    ):
        yield made


@pytest.fixture
def keeps(house):
    house.keep_s["acme"] = HOUR_S


def ask(client, text="count", **more):
    return client.responses.create(model="counter", input=text, **more)


async def ended(client, id):
    async with asyncio.timeout(60):
        while True:
            response = await client.responses.retrieve(id)
            if response.status != "in_progress":
                return response


def about(error):
    return error.value.status_code, error.value.code, error.value.param


# -- a project that keeps nothing --------------------------------------------------------------------------------------


async def test_by_default_nothing_is_kept_and_the_response_says_so(house, client):
    response = await ask(client)
    assert (response.output_text, response.store) == ("one two three four five", False)
    with pytest.raises(openai.NotFoundError) as error:
        await client.responses.retrieve(response.id)
    assert about(error) == (404, "not_found", "response_id")
    house.keep_s["acme"] = HOUR_S
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response.id)


async def test_by_default_the_next_turn_may_refer_to_the_last_one(house, client):
    first = await ask(client, "first")
    item = first.output[0].id
    second = await ask(client, [{"role": "user", "content": "first"}, *refer(item), USER])
    said = [message.text for message in house.generator.calls[-1][0].prompt]
    assert said == ["first", "one two three four five", "and on"]
    await ask(client, "third", previous_response_id=second.id)
    assert len(house.generator.calls[-1][0].prompt) == 5
    house.keys.project = "rival"
    with pytest.raises(openai.NotFoundError):
        await ask(client, [*refer(item), USER])


async def test_that_is_forgotten_after_a_while(house, client, monkeypatch):
    monkeypatch.setattr(recent, "CALL_S", 0.0)
    first = await ask(client)
    await until(lambda: house.keeper.recents.held_bytes == 0)
    with pytest.raises(openai.NotFoundError):
        await ask(client, [*refer(first.output[0].id), USER])


async def test_that_is_forgotten_at_once_when_it_is_deleted(house, client):
    first = await ask(client)
    await client.responses.delete(first.id)
    assert house.keeper.recents.held_bytes == 0
    with pytest.raises(openai.NotFoundError):
        await ask(client, [*refer(first.output[0].id), USER])
    with pytest.raises(openai.NotFoundError):
        await client.responses.delete(first.id)


@pytest.mark.parametrize("keep_s", [0, HOUR_S])
async def test_what_is_stored_or_must_not_be_is_not_remembered(house, client, keep_s):
    house.keep_s["acme"] = keep_s
    response = await ask(client, **({} if keep_s else {"store": False}))
    assert house.keeper.recents.held_bytes == 0
    house.keep_s.clear()
    with pytest.raises(openai.NotFoundError):
        await ask(client, [*refer(response.output[0].id), USER])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"store": True}, (400, "unsupported_parameter", "store")),
        ({"previous_response_id": "resp_1"}, (400, "previous_response_not_found", "previous_response_id")),
        ({"background": True}, (400, "invalid_value", "background")),
    ],
)
async def test_what_needs_keeping_is_refused(house, client, given, said):
    with pytest.raises(openai.BadRequestError) as error:
        await ask(client, **given)
    assert about(error) == said
    assert house.generator.calls == []


async def test_what_was_asked_not_to_be_stored_is_not(client, keeps):
    response = await ask(client, store=False)
    assert response.store is False
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response.id)


async def test_what_is_not_kept_is_not_given_again(house, client):
    key = {"extra_headers": {"Idempotency-Key": "k"}}
    await ask(client, **key)
    await house.sessions.all.settle()
    with pytest.raises(openai.UnprocessableEntityError) as error:
        await ask(client, **key)
    assert about(error) == (422, "already_answered", None)


# -- one that keeps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [False, True])
async def test_what_is_kept_is_given_again_as_it_was(house, client, keeps, background):
    asked = {"extra_headers": {"Idempotency-Key": "k"}, "background": background}
    first = await ask(client, **asked)
    if background:
        first = await ended(client, first.id)
    await house.sessions.all.settle()
    charged = house.tokens()
    for _ in range(3):
        again = await ask(client, **asked)
        assert (again.id, again.output_text) == (first.id, "one two three four five")
    assert house.tokens() == charged
    assert len(house.generator.calls) == 1
    with pytest.raises(openai.UnprocessableEntityError) as error:
        await ask(client, "another", **asked)
    assert about(error) == (422, "conflict", None)
    await client.responses.delete(first.id)
    with pytest.raises(openai.UnprocessableEntityError) as error:
        await ask(client, **asked)
    assert about(error) == (422, "already_answered", None)


async def test_a_stream_of_what_is_kept_is_not_given_again(house, client, keeps):
    asked = {"extra_headers": {"Idempotency-Key": "k"}, "stream": True}
    assert [event async for event in await ask(client, **asked)]
    await house.sessions.all.settle()
    with pytest.raises(openai.UnprocessableEntityError) as error:
        await ask(client, **asked)
    assert about(error) == (422, "already_answered", None)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_is_kept_as_it_was_answered(client, keeps, stream):
    if stream:
        events = [event async for event in await ask(client, stream=True)]
        response = events[-1].response
    else:
        response = await ask(client)
    assert response.store is True
    assert await client.responses.retrieve(response.id) == response
    (item,) = (await client.responses.input_items.list(response.id)).data
    assert (item.role, item.content[0].text) == ("user", "count")


async def test_it_is_durable_before_its_last_byte_leaves(house, client, keeps, monkeypatch):
    gate = asyncio.Event()
    put = house.kept.put

    async def slowly(*args):
        await gate.wait()
        await put(*args)

    monkeypatch.setattr(house.kept, "put", slowly)
    asking = asyncio.create_task(ask(client))
    await until(lambda: house.ledger.appends == 1)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not asking.done()
    gate.set()
    await asking


@pytest.mark.parametrize("stream", [False, True])
async def test_one_that_cannot_be_kept_is_not_said_to_be(house, client, keeps, stream, monkeypatch, caplog):
    async def failing(*args):
        raise InternalError("The answer could not be stored.")

    monkeypatch.setattr(house.kept, "put", failing)
    if stream:
        events = [event async for event in await ask(client, stream=True)]
        assert [event.type for event in events[-2:]] == ["error", "response.failed"]
        assert events[-1].response.error.code == "server_error"
    else:
        with pytest.raises(openai.InternalServerError):
            await ask(client)
    assert "count" not in caplog.text


async def test_a_conversation_goes_on_without_the_former_instructions(house, client, keeps):
    first = await ask(client, "count", instructions="be brief")
    second = await ask(client, "go on", instructions="be long", previous_response_id=first.id)
    await ask(client, "and on", previous_response_id=second.id)
    numbers = Message(Role.ASSISTANT, "one two three four five")
    assert second.previous_response_id == first.id
    assert [spec.prompt for spec, _ in house.generator.calls[1:]] == [
        (Message(Role.SYSTEM, "be long"), Message(Role.USER, "count"), numbers, Message(Role.USER, "go on")),
        (Message(Role.USER, "count"), numbers, Message(Role.USER, "go on"), numbers, Message(Role.USER, "and on")),
    ]


async def test_a_tools_output_answers_a_call_of_the_conversation(house, client, keeps):
    tool = {"type": "function", "name": "f", "parameters": {}, "strict": False}
    first = await ask(client, tools=[tool], tool_choice="required")
    (call,) = first.output
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "42"}
    assert await ask(client, [output], previous_response_id=first.id)
    asked = house.generator.calls[-1][0].prompt
    assert [message.role for message in asked] == [Role.USER, Role.ASSISTANT, Role.TOOL]
    with pytest.raises(openai.BadRequestError) as error:
        await ask(client, [output | {"call_id": "call_9"}], previous_response_id=first.id)
    assert about(error) == (400, "invalid_value", "input")


async def test_the_answers_that_a_request_refers_to_are_bounded_together(house, client, keeps, monkeypatch):
    asked = [(await ask(client, "x" * 30_000)).output[0].id for _ in range(5)]
    monkeypatch.setattr(keeping, "MAX_REFERRED_BYTES", 100_000)
    assert await ask(client, [*(each for id in asked[:2] for each in refer(id)), USER])
    reads = []
    get = house.kept.get
    monkeypatch.setattr(house.kept, "get", lambda *place: reads.append(place) or get(*place))
    with pytest.raises(openai.APIStatusError) as error:
        await ask(client, [*(each for id in asked for each in refer(id)), USER])
    assert about(error) == (413, "too_large", "input")
    assert len(reads) < len(asked)


async def test_a_conversation_with_its_earlier_turns_is_bounded_in_bytes(client, keeps, monkeypatch):
    monkeypatch.setattr(keeping, "MAX_CONVERSATION_BYTES", 50_000)
    first = await ask(client, "x" * 30_000)
    with pytest.raises(openai.APIStatusError) as error:
        await ask(client, "x" * 30_000, previous_response_id=first.id)
    assert about(error) == (413, "too_large", "input")
    assert await ask(client, "x", previous_response_id=first.id)


@pytest.mark.parametrize("by_item", [False, True])
async def test_earlier_turns_count_as_the_requests_until_the_call_ends(house, client, uploads, keeps, by_item):
    first = await ask(client, "x" * 90_000)
    given = [{"type": "item_reference", "id": first.output[0].id}, USER] if by_item else "and on"
    more = {} if by_item else {"previous_response_id": first.id}
    counted = []
    add = Upload.add
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Upload, "add", lambda upload, size: counted.append(size) or add(upload, size))
        house.generator.gate.clear()
        asking = asyncio.create_task(ask(client, given, **more))
        await until(lambda: house.generator.held)
    assert sum(counted) > 90_000
    assert (uploads.held > 90_000) is not by_item  # of the items only what is said is left
    for room in (uploads._large, uploads._small):
        room.all_bytes = room.key_bytes = room.held + 10_000
    with pytest.raises(openai.RateLimitError) as error:
        await ask(client, given, **more)
    assert error.value.status_code == 429
    house.generator.gate.set()
    await asking
    await house.sessions.all.settle()
    assert uploads.held == 0


async def test_another_projects_responses_do_not_exist(house, client, keeps):
    theirs = await ask(client)
    house.keep_s["other"] = HOUR_S
    house.keys.authenticate = lambda secret, scope: Principal("other", "k2", frozenset(Scope))
    for call in (
        client.responses.retrieve,
        client.responses.cancel,
        client.responses.delete,
        client.responses.input_items.list,
    ):
        with pytest.raises(openai.NotFoundError):
            await call(theirs.id)
    with pytest.raises(openai.BadRequestError) as error:
        await ask(client, previous_response_id=theirs.id)
    assert error.value.code == "previous_response_not_found"


async def test_what_is_deleted_or_past_its_end_is_gone(house, client, keeps):
    first, second = await ask(client), await ask(client)
    await client.responses.delete(first.id)
    for call in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            await call(first.id)
    assert await client.responses.retrieve(second.id)
    house.clock.advance_ms(HOUR_S * 1000)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(second.id)


async def test_a_policy_that_ends_while_a_response_is_made_keeps_it_from_the_store(house, client, keeps, monkeypatch):
    monkeypatch.setattr(house.kept, "put", None)  # would fail
    house.generator.gate.clear()
    asking = asyncio.create_task(ask(client))
    await until(lambda: house.generator.held)
    house.keep_s.clear()
    house.generator.gate.set()
    response = await asking
    house.keep_s["acme"] = HOUR_S
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response.id)


# -- in the background -------------------------------------------------------------------------------------------------


async def test_the_background_answers_at_once_and_runs_to_its_end(house, client, keeps):
    house.generator.gate.clear()
    begun = await ask(client, background=True)
    assert (begun.status, begun.background, begun.output) == ("in_progress", True, [])
    assert await client.responses.retrieve(begun.id) == begun
    house.generator.gate.set()
    response = await ended(client, begun.id)
    assert (response.status, response.output_text) == ("completed", "one two three four five")
    assert sum(entry.quantity.amount for entry in house.ledger.entries) == response.usage.total_tokens
    await until(lambda: not house.keeper._runs)
    assert await ask(client, "go on", previous_response_id=begun.id)


async def test_a_cancelled_run_ends_inside_the_engine(house, client, keeps):
    house.generator.gate.clear()
    begun = await ask(client, background=True)
    await until(lambda: house.generator.held)
    with pytest.raises(openai.BadRequestError) as error:
        await ask(client, previous_response_id=begun.id)
    assert error.value.param == "previous_response_id"
    cancelled = await client.responses.cancel(begun.id)
    assert (cancelled.status, cancelled.error) == ("cancelled", None)
    assert (house.generator.running, len(house.generator.cancelled)) == ([], 1)
    assert await client.responses.cancel(begun.id) == cancelled
    assert await client.responses.retrieve(begun.id) == cancelled
    assert 'antiphon_sessions_open{surface="openai"} 0.0' in house.metrics()


async def test_only_what_runs_in_the_background_is_cancelled(client, keeps):
    plain, background = await ask(client), await ask(client, background=True)
    await ended(client, background.id)
    for response, said in ((plain, "background"), (background, "ended")):
        with pytest.raises(openai.BadRequestError, match=said):
            await client.responses.cancel(response.id)


async def test_deleting_one_that_runs_cancels_it(house, client, keeps):
    house.generator.gate.clear()
    begun = await ask(client, background=True)
    await client.responses.delete(begun.id)
    assert house.generator.running == []
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(begun.id)


@pytest.mark.parametrize(
    ("error", "code"), [(CapacityError("full"), "rate_limit_exceeded"), (EngineError("broken"), "server_error")]
)
async def test_one_that_fails_is_shown_as_failed(house, client, keeps, error, code):
    house.generator.error = error
    response = await ended(client, (await ask(client, background=True)).id)
    assert (response.status, response.error.code) == ("failed", code)


async def test_one_that_the_servers_end_interrupts_is_shown_as_failed(house, client, keeps):
    house.generator.gate.clear()
    begun = await ask(client, background=True)
    await house.sessions.all.drain(0.01)
    response = await client.responses.retrieve(begun.id)
    assert (response.status, response.error.message) == ("failed", "The server is stopping.")
    assert house.generator.running == []


async def test_one_that_died_with_its_server_is_shown_as_failed(house, client, keeps):
    house.generator.gate.clear()
    begun = await ask(client, background=True)
    runs, house.keeper._runs = house.keeper._runs, {}  # as the next process has it
    response = await client.responses.retrieve(begun.id)
    assert (response.status, response.error.code) == ("failed", "server_error")
    house.keeper._runs = runs
    await client.responses.cancel(begun.id)


async def test_one_that_there_is_no_room_for_is_refused(house, client, keeps):
    house.ledger.error = LedgerUnavailable("full")
    with pytest.raises(openai.InternalServerError) as error:
        await ask(client, background=True)
    assert error.value.status_code == 503


async def test_one_that_cannot_be_kept_does_not_begin(house, client, keeps, monkeypatch):
    async def failing(*args):
        raise InternalError("The answer could not be stored.")

    monkeypatch.setattr(house.kept, "put", failing)
    with pytest.raises(openai.InternalServerError):
        await ask(client, background=True)
    assert house.generator.running == []
    assert 'antiphon_sessions_open{surface="openai"} 0.0' in house.metrics()


async def test_a_full_store_is_known_before_the_next_response_is_made(house, client, keeps, monkeypatch):
    async def full(project, keep, keep_s):
        raise StorageFull("Delete some.", retry_after_s=60)

    first = await ask(client)
    with monkeypatch.context() as while_full:
        while_full.setattr(house.kept, "put", full)
        for _ in range(2):
            with pytest.raises(openai.RateLimitError) as error:
                await ask(client)
            assert about(error)[:2] == (429, "storage_full")
        assert len(house.generator.calls) == 2
        await ask(client, store=False)
    with pytest.raises(openai.RateLimitError):
        await ask(client, background=True)
    await client.responses.delete(first.id)
    assert (await ask(client)).store
    assert len(house.generator.calls) == 4


async def test_the_keeper_purges_while_it_watches_also_after_a_failure(house, monkeypatch, caplog):
    monkeypatch.setattr(keeping, "PURGE_S", 0.001)
    purged = []

    async def purge(keep_s):
        purged.append(keep_s("acme"))
        if len(purged) == 1:
            raise InternalError("busy")

    monkeypatch.setattr(house.kept, "purge", purge)
    watching = asyncio.create_task(house.keeper.watch())
    await until(lambda: len(purged) > 1)
    watching.cancel()
    assert "cannot be deleted" in caplog.text


# -- the routes themselves ---------------------------------------------------------------------------------------------


async def test_the_key_is_checked_first(client):
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").responses.retrieve("resp_1")


async def test_input_items_come_in_pages(client, keeps):
    said = [{"role": "user", "content": str(n)} for n in range(5)]
    response = await ask(client, said)
    items = client.responses.input_items

    async def texts(**given):
        return [item.content[0].text async for item in items.list(response.id, **given)]

    assert await texts() == ["4", "3", "2", "1", "0"]
    assert await texts(order="asc", limit=2) == ["0", "1", "2", "3", "4"]
    page = await items.list(response.id, order="asc", limit=2)
    assert (len(page.data), page.has_more) == (2, True)
    for given, param in (({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"after": "x"}, "after")):
        with pytest.raises(openai.BadRequestError) as error:
            await items.list(response.id, **given)
        assert error.value.param == param


async def test_what_the_routes_do_not_know_is_refused(client, keeps):
    response = await ask(client)
    with pytest.raises(openai.BadRequestError) as error:
        await client.responses.retrieve(response.id, stream=True)
    assert error.value.param == "stream"
    with pytest.raises(openai.BadRequestError) as error:
        await client.responses.retrieve(response.id, include=["message.output_text.logprobs"])
    assert "include" in error.value.param


async def test_no_words_are_logged(house, client, keeps, caplog):
    caplog.set_level("DEBUG", logger="antiphon")
    response = await ask(client, "my-own-words", background=True)
    await ended(client, response.id)
    await until(lambda: caplog.records)
    assert "my-own-words" not in "".join(json.dumps(record.__dict__, default=str) for record in caplog.records)


async def test_a_conversation_does_not_grow_for_ever(client, keeps, monkeypatch):
    monkeypatch.setattr(keeping, "MAX_MESSAGES", 3)
    first = await ask(client, "hello")
    second = await ask(client, "go on", previous_response_id=first.id)
    with pytest.raises(openai.BadRequestError) as error:
        await ask(client, "and on", previous_response_id=second.id)
    assert error.value.param == "input"


# -- items that are referred to ----------------------------------------------------------------------------------------

USER = {"role": "user", "content": "and on"}


def refer(*ids, typed=True):
    kind = {"type": "item_reference"} if typed else {}
    return [kind | {"id": id} for id in ids]


@pytest.mark.parametrize("typed", [True, False])
async def test_items_of_kept_responses_stand_for_what_they_are(house, client, keeps, typed):
    first = await ask(client, "first")
    second = await ask(client, "second", previous_response_id=first.id)
    asked = (await client.responses.input_items.list(second.id)).data
    referred = refer(first.output[0].id, asked[0].id, second.output[0].id, typed=typed)
    third = await ask(client, [{"role": "user", "content": "first"}, *referred, USER])
    counted = Message(Role.ASSISTANT, "one two three four five")
    said = [Message(Role.USER, text) for text in ("first", "second", "and on")]
    assert house.generator.calls[-1][0].prompt == (said[0], counted, said[1], counted, said[2])
    listed = (await client.responses.input_items.list(third.id, order="asc")).data
    assert [item.id for item in listed[1:4]] == [each["id"] for each in referred]


async def test_a_call_that_is_referred_to_is_answered(house, client, keeps):
    tools = [{"type": "function", "name": "f", "parameters": {}}]
    first = await ask(client, tools=tools, tool_choice="required")
    called = first.output[0]
    output = {"type": "function_call_output", "call_id": called.call_id, "output": "sunny"}
    await ask(client, [USER, *refer(called.id), output], tools=tools)
    prompt = house.generator.calls[-1][0].prompt
    assert prompt[1].tool_calls[0].id == prompt[2].tool_call_id == called.call_id
    assert prompt[2].text == "sunny"


async def test_items_that_are_not_there(house, client, keeps):
    first = await ask(client)
    unkept = await ask(client, store=False)
    item = first.output[0].id
    for id in (unkept.output[0].id, item[:-1] + "9", "msg_1", "x", item.replace("msg", "rs"), ""):
        with pytest.raises(openai.NotFoundError) as error:
            await ask(client, [*refer(id), USER])
        assert about(error) == (404, "not_found", "input")
        assert id in error.value.message
    house.keys.project = "rival"
    house.keep_s["rival"] = HOUR_S
    with pytest.raises(openai.NotFoundError):
        await ask(client, [*refer(item), USER])
    assert len(house.generator.calls) == 2


async def test_an_item_is_referred_to_once(client, keeps):
    first = await ask(client)
    with pytest.raises(openai.BadRequestError, match="Duplicate item") as error:
        await ask(client, [*refer(first.output[0].id) * 2, USER])
    assert error.value.param == "input[1]"


async def test_what_surrounds_a_reference_is_checked_all_the_same(client, keeps):
    first = await ask(client)
    with pytest.raises(openai.BadRequestError) as error:
        await ask(client, [*refer(first.output[0].id), {"role": "nobody", "content": ""}])
    assert about(error) == (400, "unsupported_parameter", "input[1].role")


async def test_what_runs_in_the_background_is_counted_as_held(house, client, keeps, uploads):
    house.generator.gate.clear()
    begun = await ask(client, "count " * 1000, background=True)
    assert uploads.held >= 6000
    house.generator.gate.set()
    await ended(client, begun.id)
    await until(lambda: uploads.held == 0)
