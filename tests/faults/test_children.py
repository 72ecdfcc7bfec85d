"""The processes of a server: what each is given, and what comes of one that is stopped."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from callers import alive, children, failures, http, metric, transcribe, until

from antiphon.children import processor_s
from encoded import encode, murmur
from serving import API_KEY, Server, start

pytestmark = pytest.mark.xdist_group("faults")
SECRET = "a-key-of-somebody-else-0123456789"
WORKERS = {"language": b"engines.openvino.worker", "voice": b"engines.piper.worker", "decoder": b"audio.worker"}
# Names of what is imported by some process or other; a file of each lies where the server is started.
SHADOWS = ("av", "msgspec", "num2words", "numpy", "onnx", "onnxruntime", "openvino", "openvino_genai", "piper", "typer")
DECODED_MB = 12
BEGUN_S = 0.1  # of processor time
WITHIN_S = 60  # until one that is stopped is at work again: 10, on a machine that does nothing else


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    """Started where files lie that must not be run, with a key in the environment that is none of its children's."""
    where, data = tmp_path_factory.mktemp("where"), tmp_path_factory.mktemp("data")
    for name in SHADOWS:
        (where / f"{name}.py").write_text(f"open({str(where / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(3)\n")
    command = (str(Path(sys.executable).with_name("antiphon")),)
    settings = f"[limits]\ndecoded_mb = {DECODED_MB}\n"
    process, url = start(data, models, settings, command=command, cwd=where, SOME_API_KEY=SECRET)
    yield Server(url, API_KEY, data, process.pid)
    process.terminate()
    assert process.wait(30) == 0
    assert not (where / "ran").exists()


def descendants(pid):
    return [one for child in children(pid) for one in (child, *descendants(child))]


def worker(server, name):
    """The process id of one, while there is one."""
    for pid in children(server.pid):
        with contextlib.suppress(OSError):
            if WORKERS[name] in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return None


def core_size(pid):
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("Max core file size"))
    return line.split()[4]


# The decoder wakes itself by a pair of its own; the voice has texts read in children of its own.
NICE = ("language", "voice")  # the server goes first
SOCKETS = {"language": 1, "voice": 3, "decoder": 3}


def test_children_have_what_they_need(server):
    assert core_size(server.pid) == "1"
    for name in WORKERS:
        pid = worker(server, name)
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert API_KEY.encode() not in environment
        assert SECRET.encode() not in environment
        assert str(Path.home()).encode() + b"\0" not in environment
        assert b"-P" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert (Path(f"/proc/{pid}/cwd").readlink(), core_size(pid)) == (Path("/"), "1")
        assert os.getsid(pid) == pid
        autogroup = Path(f"/proc/{pid}/autogroup")  # where there are some, `nice` counts within one
        if name in NICE and autogroup.exists():
            assert autogroup.read_text().split()[-1] == str(os.getpriority(os.PRIO_PROCESS, pid)) == "5"
        files = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
        assert not [file for file in files if file.endswith((".db", "log")) or str(server.data_dir) in file]
        sockets = [file for file in files if file.startswith("socket:")]
        assert len(sockets) == SOCKETS[name]


# -- one that is stopped -----------------------------------------------------------------------------------------------


async def answer(session):
    said = [{"role": "user", "content": "Count to a hundred."}]
    body = {"model": "gpt-4o-mini", "messages": said, "max_tokens": 200}
    async with session.post("/v1/chat/completions", json=body) as response:
        return response.status, await response.text()


async def speech(session):
    text = "The harbour was quiet that morning, and nobody had come down to the boats yet. " * 5
    body = {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "wav"}
    async with session.post("/v1/audio/speech", json=body) as response:
        return response.status, await response.text(errors="replace")


async def recording(session):
    status, told = await transcribe(session, encode(murmur(2.0), "ogg-opus"))
    return status, json.dumps(told)


CALLS = {"language": answer, "voice": speech, "decoder": recording}


@pytest.mark.parametrize("name", WORKERS)
async def test_one_that_is_stopped_is_replaced_and_its_calls_are_told(server, name):
    async with http(server) as session:

        async def ready():
            async with session.get("/readyz") as response:
                return response.status, await response.text()

        async def told():
            status, text = await ready()
            return status == 503 and text

        async def replaced():
            return (await ready())[0] == 200 and worker(server, name) not in (None, stopped)

        assert (await ready())[0] == 200
        stopped, before = worker(server, name), await metric(session, "antiphon_engine_stuck_total")
        os.kill(stopped, signal.SIGSTOP)
        calling = asyncio.create_task(CALLS[name](session))
        if name != "decoder":  # which is replaced in a moment
            assert "being started again" in await until(told, WITHIN_S)
        await until(replaced, WITHIN_S)
        assert not alive(stopped)
        status, text = await calling
        if name == "decoder":
            assert status == 200  # it was tried again
        elif name == "language" or status != 200:  # a voice may say what is left, once it is back
            assert status in (502, 504)
            assert "stuck" in text
        assert await metric(session, "antiphon_engine_stuck_total") == before + 1

        async def served():
            return (await CALLS[name](session))[0] == 200

        await until(served, WITHIN_S)
    failures(server, API_KEY, SECRET)


async def test_a_recording_whose_decoder_is_stopped_is_not_blamed(server):
    data, nursery = encode(murmur(30.0), "aac") * 30, worker(server, "decoder")  # frames that may follow any other
    async with http(server) as session:
        before = await metric(session, "antiphon_engine_stuck_total")

        calling = asyncio.create_task(transcribe(session, data))
        for _ in range(2_000):
            # A child that is stopped before it has begun to decode is replaced, and the call succeeds.
            if forked := [child for child in children(nursery) if processor_s(child) >= BEGUN_S]:
                break
            await asyncio.sleep(0.005)
        (decoder,) = forked
        os.kill(decoder, signal.SIGSTOP)
        async with asyncio.timeout(WITHIN_S):
            status, _ = await calling
        assert status == 504

        async def gone():
            return not alive(decoder)

        await until(gone, 5)
        assert await metric(session, "antiphon_engine_stuck_total") == before + 1


@pytest.mark.long
async def test_work_that_takes_long_is_not_taken_for_standing_still(server):
    """Prompts as long as may be, many at once, while voices speak: steps take long, and nobody is replaced."""
    async with http(server) as session:
        before = await metric(session, "antiphon_engine_restarts_total")

        async def long_answer(number):
            said = [{"role": "user", "content": f"{number} " + "and so on, and on, " * 150}]
            body = {"model": "gpt-4o-mini", "messages": said, "max_tokens": 20}
            async with session.post("/v1/chat/completions", json=body) as response:
                return response.status

        statuses = await asyncio.gather(*map(long_answer, range(2)), speech(session))
        assert 200 in statuses
        assert await metric(session, "antiphon_engine_restarts_total") == before


async def test_recordings_share_what_they_may_decode_to(server):
    """Five minutes of silence are 57 kB of FLAC and 9.6 MB of samples."""

    async def post(session, data):
        async with session.post("/v1/listen?model=nova-3", data=data) as response:
            await response.read()
            return response.status, response.headers.get("Retry-After")

    silence, longer = (encode(bytes(32 * seconds * 1000), "flac") for seconds in (300, 600))
    async with http(server) as session:
        answers = await asyncio.gather(*(post(session, silence) for _ in range(5)))
        assert set(answers) == {(200, None), (429, "5")}, answers
        assert (await post(session, longer))[0] == 200  # alone, it may be larger
