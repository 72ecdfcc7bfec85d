import asyncio
import hashlib
import hmac

import pytest

from antiphon.core.errors import CallerError, CapacityError
from antiphon.jobs import webhook
from antiphon.jobs.webhook import MAX_OF_A_PROJECT, MAX_TRIES, Message, Webhooks, signature
from antiphon.testing import FakeClock


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

    return Webhooks(receiver, clock, sleep), pauses


def message(project="acme"):
    return Message(
        project, "https://x.example/hook", b"s3cret", b'{"a":1}', lambda at, sig: {"sig": f"t={at},v0={sig}"}
    )


async def test_what_is_sent_is_signed_with_its_time(clock):
    receiver = Receiver(204)
    sending, pauses = hooks(receiver, clock)
    assert await sending.send(message())
    at = clock.unix_ms() // 1000
    expected = hmac.new(b"s3cret", f'{at}.{{"a":1}}'.encode(), hashlib.sha256).hexdigest()
    assert receiver.got == [("https://x.example/hook", b'{"a":1}', {"sig": f"t={at},v0={expected}"})]
    assert pauses == []
    assert signature(b"other", at, b'{"a":1}') != expected


async def test_it_is_sent_again_with_growing_pauses_and_a_new_time_and_not_for_ever(clock):
    receiver = Receiver(500, CallerError("gone"), 200)
    sending, pauses = hooks(receiver, clock)
    assert await sending.send(message())
    assert pauses == [1.0, 5.0]
    assert len({headers["sig"] for _, _, headers in receiver.got}) == 3
    never = Receiver(*[410] * 99)
    sending, pauses = hooks(never, clock)
    assert not await sending.send(message())
    assert (len(never.got), len(pauses)) == (MAX_TRIES, MAX_TRIES - 1)


async def test_what_is_under_way_is_bounded_and_given_up_at_the_end(clock, monkeypatch):
    gate = asyncio.Event()

    class Slow:
        async def post(self, url, body, headers):
            await gate.wait()
            return 200

    sending, _ = hooks(Slow(), clock)
    tasks = [sending.send(message()) for _ in range(MAX_OF_A_PROJECT)]
    with pytest.raises(CapacityError):
        sending.send(message())
    tasks.append(sending.send(message("other")))
    monkeypatch.setattr(webhook, "MAX_WAITING", len(tasks))
    with pytest.raises(CapacityError):
        sending.send(message("third"))
    await sending.close()
    assert all(task.cancelled() for task in tasks)
