"""What a process of ours is given, and when one counts as stuck."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from antiphon import children
from antiphon.children import BUSY_S, SILENT_LOOKS, STILL_LOOKS, Pulse

PID = 7


@pytest.fixture
def looks(monkeypatch):
    """How many looks it takes until a process is stuck; `used_s` gives what it has used at each, and `at_work`
    whether it wants to go on.
    """

    def looks(pulse, used_s, most=SILENT_LOOKS + 1, at_work=lambda number: False):
        for number in range(1, most + 1):
            monkeypatch.setattr(children, "processor_s", lambda pid, now=number: (pid == PID) and used_s(now))
            monkeypatch.setattr(children, "at_work", lambda pid, now=number: (pid == PID) and at_work(now))
            assert pulse.look(PID) == used_s(number)
            if pulse.stuck:
                return number
        return None

    return looks


def test_one_that_does_nothing_is_stuck_after_some_looks(looks):
    assert looks(Pulse(), lambda number: 0.0) == STILL_LOOKS
    # What it had used before is found at the first look.
    assert looks(Pulse(), lambda number: 7.0) == STILL_LOOKS + 1


def test_one_that_computes_is_not_stuck_until_nobody_waits_any_more(looks):
    assert looks(Pulse(), lambda number: number * BUSY_S) == SILENT_LOOKS
    assert looks(Pulse(30), lambda number: number * BUSY_S) == 30


def test_one_that_gets_no_processor_or_waits_for_a_disk_is_not_stuck_either(looks):
    assert looks(Pulse(), lambda number: 0.0, at_work=lambda number: True) == SILENT_LOOKS
    assert looks(Pulse(), lambda number: 0.0, at_work=lambda number: number <= 20) == 20 + STILL_LOOKS


def test_waking_up_now_and_then_is_not_computing(looks):
    assert looks(Pulse(), lambda number: number * BUSY_S / (STILL_LOOKS + 1)) == STILL_LOOKS


def test_one_that_says_something_is_not_stuck(looks):
    pulse = Pulse()
    for _ in range(3):
        assert looks(pulse, lambda number: 0.0, STILL_LOOKS - 1) is None
        assert pulse.silent
        pulse.reset()
        assert not pulse.silent


PROGRAMS = {
    "sleeps": "import time; time.sleep(60)",
    "computes": """
import threading, time
threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()
time.sleep(60)""",
    # Who starts another program is stopped by the kernel until that has opened its files, which this one never does.
    "waits": """
import os, sys
os.mkfifo(sys.argv[1])
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)])""",
}


@pytest.fixture
def begin(tmp_path):
    """Starts a program, and ends it with all that it started."""
    begun = []

    def begin(name):
        command = [sys.executable, "-c", PROGRAMS[name], str(tmp_path / "fifo")]
        begun.append(subprocess.Popen(command, start_new_session=True))
        return begun[-1].pid

    yield begin
    for process in begun:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(condition):
    for _ in range(60_000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("never")


def states(pid):
    found = [Path(f"/proc/{pid}/task/{thread}/stat").read_text() for thread in os.listdir(f"/proc/{pid}/task")]
    return {stat.rpartition(")")[2].split()[0] for stat in found}


def test_a_process_is_at_work_if_any_of_its_threads_is_and_none_is_stopped(begin):
    pid = begin("computes")
    until(lambda: states(pid) == {"R", "S"})
    assert children.at_work(pid)
    os.kill(pid, signal.SIGSTOP)
    until(lambda: states(pid) == {"T"})
    assert not children.at_work(pid)


def test_a_process_that_the_kernel_lets_wait_is_at_work(begin):
    pid = begin("waits")
    until(lambda: states(pid) == {"D"})
    assert children.at_work(pid)


def test_a_process_that_sleeps_or_is_gone_is_not_at_work(begin):
    pid = begin("sleeps")
    until(lambda: not children.at_work(pid))
    assert not children.at_work(None)


def test_a_child_gets_no_key_and_nothing_of_where_it_is_started(tmp_path, monkeypatch):
    (tmp_path / "msgspec.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_API_KEY", "a key")
    monkeypatch.setenv("SOME_KEY", "another")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    apart = children.apart("TOLD")
    assert {"ANTIPHON_API_KEY", "SOME_KEY", "TOLD"}.isdisjoint(apart["env"])
    assert (apart["env"]["OMP_NUM_THREADS"], apart["env"]["HOME"]) == ("3", "/")
    monkeypatch.setenv("TOLD", "this")
    assert children.apart("TOLD")["env"]["TOLD"] == "this"
    # `json.tool` prints what it is given; it runs, and finds msgspec where it is installed.
    said = subprocess.run(children.command("json.tool"), input=b"[1]", capture_output=True, check=True, **apart)
    assert said.stdout.split() == [b"[", b"1", b"]"]
    asks = "import os, msgspec; print(os.getcwd(), os.getsid(0) == os.getpid())"
    command = [*children.command("json.tool")[:2], "-c", asks]
    assert subprocess.run(command, capture_output=True, check=True, **apart).stdout.split() == [b"/", b"True"]


def test_what_a_process_uses_is_known():
    assert children.processor_s(os.getpid()) > 0
    assert children.resident_bytes(os.getpid()) > 1 << 20
    assert children.processor_s(None) == children.resident_bytes(None) == 0


@pytest.mark.parametrize("limit", [(-1, -1), (0, 0)], ids=["unlimited", "none"])
def test_no_core_is_dumped(limit):
    asks = f"""
import resource; from antiphon import children
if {limit} == (0, 0): resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
children.without_core_dumps()
print(max(resource.getrlimit(resource.RLIMIT_CORE)))"""
    said = subprocess.run([sys.executable, "-c", asks], capture_output=True, check=True)
    assert int(said.stdout) <= 1


def test_vendors_are_told_nothing():
    asks = """
import antiphon, os, sys
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
try:
    import openvino_telemetry
except ImportError:
    print("no")"""
    assert subprocess.run([sys.executable, "-c", asks], capture_output=True, check=True).stdout == b"no\n"
