"""Pages in a real browser call the server, whose origin is not theirs: over HTTP, and over WebSockets with what pages
can send there, which are subprotocols and tokens in the query.
"""

import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from serving import Server

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HEADLESS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
WITHIN_S = 300

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]


class Site(SimpleHTTPRequestHandler):
    """Serves a folder, and passes on what is posted."""

    def __init__(self, results: queue.Queue[Any], *args: Any, **given: Any) -> None:
        self._results = results
        super().__init__(*args, **given)

    def do_POST(self) -> None:
        self._results.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def results(server: Server, ever_tried: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What came of each call of `page.html`."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(Path(__file__).with_name("page.html"), folder)
    shutil.copy(ever_tried, folder / "speech.wav")
    posted: queue.Queue[dict[str, Any]] = queue.Queue()
    site = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, posted, directory=str(folder)))
    threading.Thread(target=site.serve_forever, daemon=True).start()
    told = quote(json.dumps({"http": server.base_url, "ws": server.ws_url, "key": server.api_key}))
    page = f"http://localhost:{site.server_port}/page.html#{told}"
    profile = folder.with_name("profile")
    assert CHROMIUM is not None
    browser = subprocess.Popen(
        [CHROMIUM, *HEADLESS, f"--user-data-dir={profile}", page], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield posted.get(timeout=WITHIN_S)
    finally:
        browser.terminate()
        browser.wait(30)
        site.shutdown()
        site.server_close()


def test_a_recording(results: dict[str, Any]) -> None:
    status, answer, named = results["a recording"]
    assert (status, named) == (200, True)
    assert answer["text"].lower().startswith("ever tried")


def test_errors_can_be_read(results: dict[str, Any]) -> None:
    status, answer, named = results["a wrong key"]
    assert (status, named, answer["error"]["code"]) == (401, True, "invalid_api_key")


def test_what_is_for_operators_is_closed_to_pages(results: dict[str, Any]) -> None:
    assert results["for operators"] == "TypeError"


def test_a_key_in_a_subprotocol(results: dict[str, Any]) -> None:
    code, heard = results["deepgram"]
    assert code == 1000
    said = " ".join(each["channel"]["alternatives"][0]["transcript"] for each in heard if each["type"] == "Results")
    assert said.lower().startswith("ever tried")
    code, heard = results["realtime"]
    assert heard[0]["type"] == "session.created"


def test_tokens_in_the_query(results: dict[str, Any]) -> None:
    code, heard = results["assemblyai"]
    assert (code, heard[0]["type"], heard[-1]["type"]) == (1000, "Begin", "Termination")
    assert any(each.get("transcript", "").lower().startswith("ever tried") for each in heard)
    code, heard = results["scribe"]
    assert heard[0]["message_type"] == "session_started"
    assert heard[-1]["text"].lower().startswith("ever tried")
