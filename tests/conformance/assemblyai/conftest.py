"""AssemblyAI's own clients of the server, sentences to say, and projects whose ledger can be read."""

import contextlib
import sqlite3
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from assemblyai_speech import speak

from serving import Server


@dataclass(frozen=True, slots=True)
class Payer:
    """A project of its own, with a key, and what stands in the ledger of it."""

    server: Server
    project: str
    key: str
    key_id: str

    def entries(self) -> list[tuple[str, str, int]]:
        """Kind, dimension and amount, once every session is closed there."""
        query = "SELECT session, kind, dimension, amount, surface FROM entries WHERE project = ? ORDER BY rowid"
        deadline = time.monotonic() + 20
        while True:
            with contextlib.closing(sqlite3.connect(self.server.data_dir / "ledger.db")) as ledger:
                rows = ledger.execute(query, (self.project,)).fetchall()
            closed = {row[0] for row in rows if row[1] in ("completed", "abandoned")}
            if rows and closed == {row[0] for row in rows}:
                assert {row[4] for row in rows} == {"assemblyai"}
                return [row[1:4] for row in rows]
            assert time.monotonic() < deadline, rows
            time.sleep(0.1)

    def charged_ms(self) -> int:
        return sum(amount for _, dimension, amount in self.entries() if dimension == "stt.audio_ms")

    def revoke(self) -> None:
        bearer = {"authorization": f"Bearer {self.server.api_key}"}
        answer = httpx.delete(f"{self.server.base_url}/admin/v1/keys/{self.key_id}", headers=bearer, timeout=60)
        assert answer.is_success, answer.text


@pytest.fixture
def payer(server: Server) -> Payer:
    bearer, project = {"authorization": f"Bearer {server.api_key}"}, f"assemblyai-{uuid.uuid4().hex[:12]}"
    with httpx.Client(base_url=server.base_url, headers=bearer, timeout=60) as client:
        assert client.post("/admin/v1/projects", json={"id": project}).status_code == 201
        made: dict[str, Any] = client.post("/admin/v1/keys", json={"project": project}).json()
        while client.get("/v1/models", headers={"authorization": f"Bearer {made['key']}"}).status_code == 503:
            time.sleep(0.05)  # while the directory is written, a new key is not known yet
    return Payer(server, project, made["key"], made["id"])


@pytest.fixture(scope="session")
def sentence(server: Server) -> bytes:
    """`The ship was painted blue.`, 16 kHz mono int16, in whole tenths of a second: a stream has no short pieces."""
    spoken = speak(server, encoding="linear16", sample_rate="16000")
    return spoken + bytes(-len(spoken) % 3_200)
