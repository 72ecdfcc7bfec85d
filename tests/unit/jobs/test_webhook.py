import asyncio
import hashlib
import hmac
from dataclasses import replace

import pytest
from event_loop import settle

from antiphon.core.errors import CallerError
from antiphon.core.identity import Webhook, WebhookSettings
from antiphon.core.jobs import Notice
from antiphon.jobs import webhook
from antiphon.jobs.webhook import AT_ONCE, MAX_OF_A_PROJECT, MAX_TRIES, Webhooks, signature
from antiphon.testing import FakeClock

SECRETS = {"k1": b"s3cret"}


class Receiver:
    """Answers with these statuses, one after the other, or raises them."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.got = []

    async def post(self, url, body, headers):
        self.got.append((url, body, dict(headers)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock():
    return FakeClock()


def hooks(receiver, clock):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)
        clock.advance_ms(int(seconds * 1000))

    return Webhooks(receiver, clock, lambda key_id: SECRETS.get(key_id, b""), sleep=sleep), pauses


NOTICE = Notice("https://x.example/hook", b'{"a":1}', lambda at, sig: {"sig": f"t={at},v1={sig}"})


async def test_a_project_says_how_its_webhooks_are_told(clock):
    settings = {
        "w1": WebhookSettings(headers=(("x-a", "b"), ("sig", "forged"))),
        "w2": WebhookSettings(subscribed=False, retries=False),
    }
    own = [Webhook(id, "acme", "", f"https://{id}.example", 0, "s", each) for id, each in settings.items()]
    receiver = Receiver(503, 204, 500)
    sending, pauses = hooks(receiver, clock)
    sending._webhooks = lambda project: own
    sending.tell("acme", "k1", replace(NOTICE, url=""))
    await asyncio.gather(*sending._sending)
    assert [(url, headers["x-a"]) for url, _, headers in receiver.got] == [("https://w1.example", "b")] * 2
    assert receiver.got[0][2]["sig"].startswith("t=")
    assert pauses == [1]
    sending.tell("acme", "k1", replace(NOTICE, url="", webhook="w2"))
    await asyncio.gather(*sending._sending)
    assert (len(receiver.got), pauses) == (3, [1])
    assert {id: each.status for id, each in sending.failures.items()} == {"w1": 503, "w2": 500}


async def test_what_is_sent_is_signed_with_its_time(clock):
    receiver = Receiver(204, 204)
    sending, pauses = hooks(receiver, clock)
    assert await sending.send("acme", "k1", NOTICE)
    at = clock.unix_ms() // 1000
    expected = hmac.new(b"s3cret", f'{at}.{{"a":1}}'.encode(), hashlib.sha256).hexdigest()
    assert receiver.got == [("https://x.example/hook", b'{"a":1}', {"sig": f"t={at},v1={expected}"})]
    assert pauses == []
    assert signature(b"other", at, b'{"a":1}') != expected
    assert await sending.send("acme", "gone", NOTICE)
    assert receiver.got[1][2] == {"sig": f"t={at},v1="}


def hook(id, project="acme"):
    return Webhook(id, project, "", f"https://{id}.example", 0, f"secret of {id}")


@pytest.mark.parametrize(("wanted", "told"), [("", ["a", "b"]), ("b", ["b"]), ("x", [])])
async def test_a_projects_webhooks_are_told_each_with_its_own_secret(clock, wanted, told):
    receiver = Receiver(200, 200)
    known = [hook("a"), hook("b"), hook("c", "other")]
    sending = Webhooks(receiver, clock, lambda key_id: b"", lambda project: [h for h in known if h.project == project])
    sending.tell("acme", "k1", replace(NOTICE, url="", webhook=wanted))
    await asyncio.gather(*sending._sending)
    at = clock.unix_ms() // 1000
    assert receiver.got == [
        (
            f"https://{id}.example",
            NOTICE.body,
            {"sig": f"t={at},v1={signature(f'secret of {id}'.encode(), at, NOTICE.body)}"},
        )
        for id in told
    ]


async def test_a_webhook_that_is_deleted_meanwhile_is_told_no_more(clock):
    receiver, known = Receiver(500, 200), [hook("a")]

    async def sleep(seconds):
        known.clear()

    sending = Webhooks(receiver, clock, lambda key_id: b"", lambda project: known, sleep)
    sending.tell("acme", "k1", replace(NOTICE, url=""))
    assert await asyncio.gather(*sending._sending) == [False]
    assert len(receiver.got) == 1


async def test_it_is_sent_again_with_growing_pauses_and_a_new_time_and_not_for_ever(clock):
    receiver = Receiver(500, CallerError("gone"), 429, 302, 200)
    sending, pauses = hooks(receiver, clock)
    assert await sending.send("acme", "k1", NOTICE)
    assert pauses == [1.0, 5.0, 25.0, 125.0]
    assert len({headers["sig"] for _, _, headers in receiver.got}) == 5
    never = Receiver(*[500] * 99)
    sending, pauses = hooks(never, clock)
    assert not await sending.send("acme", "k1", NOTICE)
    assert (len(never.got), len(pauses)) == (MAX_TRIES, MAX_TRIES - 1)


async def test_who_does_not_want_it_is_not_asked_again(clock):
    receiver = Receiver(410)
    sending, _ = hooks(receiver, clock)
    assert not await sending.send("acme", "k1", NOTICE)


async def test_what_is_under_way_is_bounded_and_given_up_at_the_end(clock, monkeypatch):
    gate, posts = asyncio.Event(), []

    class Slow:
        async def post(self, url, body, headers):
            posts.append(url)
            await gate.wait()
            return 200

    sending, _ = hooks(Slow(), clock)
    tasks = [sending.send("acme", "k1", NOTICE) for _ in range(MAX_OF_A_PROJECT)]
    assert sending.send("acme", "k1", NOTICE) is None
    tasks.append(sending.send("other", "k1", NOTICE))
    monkeypatch.setattr(webhook, "MAX_WAITING", len(tasks))
    assert sending.send("third", "k1", NOTICE) is None
    await settle()
    assert len(posts) == AT_ONCE
    await sending.close()
    assert all(task.cancelled() for task in tasks)
    assert sending.send("acme", "k1", NOTICE) is not None
    await sending.close()


async def test_what_is_about_a_person_who_is_erased_is_not_sent_again(clock):
    receiver = Receiver(*[204] * 9)
    sending, _ = hooks(receiver, clock)
    gate = asyncio.Event()
    sending._post = lambda *given: gate.wait()
    for project, subject in (("acme", "jane"), ("acme", "john"), ("acme", ""), ("other", "jane")):
        sending.tell(project, "k1", NOTICE, subject)
    await asyncio.sleep(0)
    assert sending.drop("acme", "jane") == 1
    await asyncio.sleep(0.01)
    assert sorted(sending._sending.values()) == [("acme", ""), ("acme", "john"), ("other", "jane")]
    assert sending.drop("acme", "") == 2
    await asyncio.sleep(0.01)
    assert list(sending._sending.values()) == [("other", "jane")]
    await sending.close()
