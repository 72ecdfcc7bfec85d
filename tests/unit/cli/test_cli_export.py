"""`antiphon export` and `antiphon stripe`, on what a server has left."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from antiphon.cli import export, stripe
from antiphon.core.errors import CallerError, Conflict, NotFound
from antiphon.core.exports import Batch, BatchState, Cut, UsageEvent
from antiphon.stores import open_exports
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.testing import FakeClock
from receivers import FakeStripe

NOW = 1_767_225_600_000


@pytest.fixture
def run(tmp_path):
    config = tmp_path / "antiphon.toml"
    config.write_text(f'data_dir = "{tmp_path}"\n[export.out]\nkind = "openmeter"\n')

    def called(app, *arguments):
        result = CliRunner().invoke(app, [*arguments, "--config", str(config)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return called


@pytest.fixture
def left(tmp_path):
    """A ledger, and an outbox with two gaps and what was taken."""

    async def make():
        await SqliteLedger(tmp_path / "ledger.db", "a").close()
        exports = open_exports(tmp_path, make=True)
        batches = []
        for name, state in (("1", BatchState.REFUSED), ("2", BatchState.UNKNOWN), ("3", BatchState.TAKEN)):
            event = UsageEvent(
                identifier=name, project="acme", meter="m", at_unix_ms=NOW, quantity=1234, first=1, last=int(name)
            )
            batches.append(Batch(identifier=name, lane="", body=b"b", events=(event,), state=state, reason="why"))
        await exports.cut("out", None, Cut(3, "a", "o"), batches, NOW)
        await exports.close()

    asyncio.run(make())


def test_where_nothing_was_exported_it_says_so(run):
    with pytest.raises(NotFound, match="nothing was exported"):
        run(export.app, "status")


def test_the_status_of_each_target_is_shown(run, left):
    table = run(export.app, "status")
    assert "out" in table
    assert "not configured" not in table
    [status] = json.loads(run(export.app, "status", "--format", "json"))
    assert (status["position"], status["taken"], status["refused"], status["unknown"]) == (3, 1, 1, 1)


def test_gaps_are_shown_settled_and_sent_again(run, left):
    assert "1,234" in run(export.app, "gaps")
    found = json.loads(run(export.app, "gaps", "--format", "json"))
    one, two = (gap["number"] for gap in found["out"])
    assert run(export.app, "gaps", "settle", "out", str(one), "--note", "credited") == "1 gaps are settled.\n"
    with pytest.raises(CallerError):
        run(export.app, "gaps", "settle", "out")
    assert run(export.app, "gaps", "send-again", "out", "--all") == "1 gaps are sent again.\n"
    assert json.loads(run(export.app, "gaps", "--target", "out", "--format", "json")) == {"out": []}
    with pytest.raises(NotFound):
        run(export.app, "gaps", "settle", "other", str(two))


def test_a_replay_says_what_stays(run, left):
    assert run(export.app, "replay", "out", "--from", "3").splitlines() == [
        "0 batches are sent again.",
        "1 are not: out may not recognise them any more, and would count them twice.",
    ]


def test_the_meters_of_the_configuration_are_made_at_stripe(tmp_path, monkeypatch):
    fake = FakeStripe(FakeClock())

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            said = fake.answer(self.command, self.path, dict(self.headers), body)
            self.send_response(said.status)
            self.send_header("content-length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_1")
    config = tmp_path / "antiphon.toml"
    config.write_text(f"""
[export.stripe]
kind = "stripe"
url = "http://127.0.0.1:{server.server_port}"
[export.stripe.meters]
audio = {{ dimension = "stt.audio_ms" }}
""")

    def sync(*arguments):
        result = CliRunner().invoke(stripe.app, ["sync", *arguments, "--config", str(config)])
        if result.exception is not None:
            raise result.exception
        return result.output

    try:
        assert "it is not there" in sync("--dry-run")
        assert fake.meters == {}
        assert "created" in sync()
        assert "matched" in sync("--target", "stripe")
        with pytest.raises(CallerError):
            sync("--target", "other")
        fake.meters["mtr_1"]["default_aggregation"]["formula"] = "count"
        with pytest.raises(Conflict):
            sync()
    finally:
        server.shutdown()
        server.server_close()
