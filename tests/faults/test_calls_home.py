"""Nothing is looked up or called that the configuration did not name, by any process: the server, its engines, its
decoders, the rewriting of weights, the command line. Nor is anything written into the home directory.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from callers import children, http, transcribe

from encoded import encode, murmur
from serving import API_KEY, SPEECH, Server, start

pytestmark = [
    pytest.mark.xdist_group("faults"),
    pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed"),
]
TRACED = ("strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o")
ADDRESSED = re.compile(r"\b(?:connect|send\w+)\(.*sa_family=(AF_\w+)(?:.*?htons\((\d+)\))?(?:.*?\"([^\"]*)\")?")
OURS = (sys.executable, "-m", "antiphon")


def addressed(trace):
    """What was connected to, or sent to: families, ports and addresses."""
    return {found.groups() for line in trace.read_text().splitlines() if (found := ADDRESSED.search(line))}


def outside(trace, *ports):
    """Without the kernel's own tables, and those ports of this machine."""
    ours = {("AF_INET", str(port), "127.0.0.1") for port in ports}
    return {call for call in addressed(trace) if call[0] != "AF_NETLINK"} - ours


async def every_engine_asked(session):
    """One call of each kind, but of recordings."""
    said = [{"role": "user", "content": "Good morning."}]
    for path, body in (
        ("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": said, "max_tokens": 3}),
        ("/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": "Good morning.", "stream_format": "audio"}),
        ("/v1/embeddings", {"model": "all-minilm-l6-v2", "input": "good morning"}),
    ):
        async with session.post(path, json=body) as response:
            assert response.status == 200, await response.text()
            await response.read()


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return home


def test_the_trace_shows_what_goes_out(tmp_path):
    trace = tmp_path / "trace"
    code = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 53))"
    subprocess.run([*TRACED, str(trace), sys.executable, "-c", code], check=True)
    assert outside(trace) == {("AF_INET", "53", "192.0.2.1")}


async def run_traced(trace, environment, *arguments):
    """The command line."""
    process = await asyncio.create_subprocess_exec(*TRACED, trace, *OURS, *arguments, env={**os.environ, **environment})
    assert await process.wait() == 0


@pytest.mark.parametrize(
    ("flags", "settings"),
    [(("--offline",), SPEECH), pytest.param((), "", marks=pytest.mark.long)],
    ids=["offline", "online"],
)
async def test_nobody_is_called(tmp_path, models, home, beckett, flags, settings):
    data = tmp_path / "data"
    data.mkdir()
    if not flags:  # its weights are rewritten, too, as nothing is kept of others
        (data / "models").symlink_to(models.root)
    serving, listing, transcribing = (tmp_path / f"{what} trace" for what in ("serve", "list", "transcribe"))
    process, url = start(data, models, settings, command=(*TRACED, str(serving), *OURS), flags=flags, HOME=str(home))
    try:
        (pid,) = children(process.pid)
        async with http(Server(url, API_KEY, data, pid)) as session:
            status, answer = await transcribe(session, encode(murmur(1.0), "ogg-opus"))
            assert status == 200, answer
            if not settings:
                await every_engine_asked(session)
        own = {"HOME": str(home), "ANTIPHON_DATA_DIR": str(data), "ANTIPHON_API_KEY": API_KEY}
        await run_traced(listing, own, "models", "list")
        await run_traced(transcribing, own, "transcribe", "--url", url, str(beckett))
        os.kill(pid, signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert outside(serving) == outside(listing) == set()
    assert outside(transcribing, url.rpartition(":")[2]) == set() != addressed(transcribing)
    assert list(home.rglob("*")) == []
    assert settings or list((data / "converted").glob("*/openvino_model.bin"))
