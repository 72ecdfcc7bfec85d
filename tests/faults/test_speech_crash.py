"""A server that is killed while it speaks and converses: what callers received is in the ledger, what is there beyond
it is at most the next piece of each session, and when the server is back every session that it knows has an end.

`ANTIPHON_KILLS` sets how often the ledger's own tests kill; a server with voices, which takes seconds to start, is
killed once for fifty of those.
"""

import asyncio
import os
import random

import pytest
from callers import pcm_of, rows, until
from speakers import (
    TEXT,
    Received,
    conversation,
    deepgram_speech,
    elevenlabs_speech,
    forever,
    house_rate_to_24,
    http_speech,
    parts,
)

from serving import API_KEY, LIGHT, Server, start

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.long]
KILLS = max(1, int(os.environ.get("ANTIPHON_KILLS", "20")) // 50)
PIECE_MS = 2_500  # no piece of speech is longer, with the pause behind it


def charged(path, dimension):
    """Of each session."""
    return dict(
        rows(path, f"SELECT session, sum(amount) FROM entries WHERE dimension = '{dimension}' GROUP BY session")
    )


class Callers:
    """Texts and conversations, some at a time. What is received of conversations counts apart."""

    def __init__(self, speech):
        self.speech = speech
        self.texts = Received()
        self.conversations = Received()

    def received(self):
        """How much in all."""
        talks = self.conversations
        return min(len(self.texts.ended), 2 * len(talks.spoken_ms), 2 * len(talks.heard_ms))

    async def load(self, server):
        await asyncio.gather(
            *(forever(call, server, self.texts) for call in (http_speech, deepgram_speech, elevenlabs_speech) * 2),
            *(forever(conversation, server, self.conversations, self.speech) for _ in range(2)),
        )


async def test_a_server_killed_while_it_speaks_has_charged_what_was_received_and_no_more(tmp_path, models, beckett):
    chance = random.Random(5)
    callers = Callers(house_rate_to_24(pcm_of(beckett)[: 32 * 2_500]))
    path = tmp_path / "ledger.db"
    for kill in range(KILLS):
        process, url = await asyncio.to_thread(start, tmp_path, models)
        loading = asyncio.create_task(callers.load(Server(url, API_KEY, tmp_path, process.pid)))

        async def enough(loading=loading, least=2 * kill + 2):
            return loading.done() or callers.received() >= least

        try:
            await until(enough, 60)
            await asyncio.sleep(chance.uniform(0, 1))
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)
        await loading
    process, _ = await asyncio.to_thread(start, tmp_path, models, LIGHT)  # which marks what broke off
    process.terminate()
    assert await asyncio.to_thread(process.wait, 20) == 0
    check_texts(callers.texts, path)
    check_conversations(callers.conversations, path)
    assert rows(path, "SELECT count(*) FROM entries GROUP BY project, session, sequence HAVING count(*) > 1") == []
    ends = rows(path, "SELECT sum(kind IN ('completed', 'abandoned')) FROM entries GROUP BY session")
    assert set(ends) == {(1,)}
    abandoned = {session for (session,) in rows(path, "SELECT session FROM entries WHERE kind = 'abandoned'")}
    assert abandoned
    assert not abandoned & callers.texts.ended


def check_texts(received, path):
    spoken, characters = charged(path, "tts.audio_ms"), charged(path, "tts.characters")
    beyond = {session: spoken.get(session, 0) - ms for session, ms in received.spoken_ms.items()}
    # Milliseconds are cut off, sum by sum, and at the ends of some pieces the resampler is ahead of what went into it.
    assert min(beyond.values()) > -3, beyond
    assert max(beyond.values()) <= PIECE_MS, beyond
    assert all(abs(beyond[session]) < 20 for session in received.ended), beyond
    unpaid = {session: length for session, length in received.characters.items() if characters[session] < length}
    assert not unpaid
    assert max(characters.values()) <= len(TEXT)
    assert all(session in characters for session in spoken)


def check_conversations(received, path):
    """Its parts have accounts of their own."""
    spoken, heard = charged(path, "tts.audio_ms"), charged(path, "stt.audio_ms")
    tokens = charged(path, "llm.output_tokens")
    for session, ms in received.spoken_ms.items():
        of_it = [spoken.get(part, 0) for part in parts(session)]
        assert sum(of_it) > ms - 2
        assert sum(of_it) <= ms + PIECE_MS
    for session, ms in received.heard_ms.items():
        assert sum(heard.get(part, 0) for part in parts(session)) > ms - 5  # rounded, turn by turn
    for session in received.ended:
        assert any(tokens.get(part) for part in parts(session))
