"""What a process of ours is given, and when one counts as stuck."""

import os
import subprocess
import sys

import pytest

from antiphon import children
from antiphon.children import BUSY_S, SILENT_LOOKS, STILL_LOOKS, Pulse


def looks(pulse, used_s, most=SILENT_LOOKS + 1):
    """How many looks it takes, at most, until it is stuck; `used_s` gives what it has used at each."""
    for number in range(1, most + 1):
        pulse.look(used_s(number))
        if pulse.stuck:
            return number
    return None


def test_one_that_does_nothing_is_stuck_after_some_looks():
    assert looks(Pulse(), lambda number: 0.0) == STILL_LOOKS
    # What it had used before is found at the first look.
    assert looks(Pulse(), lambda number: 7.0) == STILL_LOOKS + 1


def test_one_that_computes_is_not_stuck_until_nobody_waits_any_more():
    assert looks(Pulse(), lambda number: number * BUSY_S) == SILENT_LOOKS
    assert looks(Pulse(30), lambda number: number * BUSY_S) == 30


def test_waking_up_now_and_then_is_not_computing():
    assert looks(Pulse(), lambda number: number * BUSY_S / (STILL_LOOKS + 1)) == STILL_LOOKS


def test_one_that_says_something_is_not_stuck():
    pulse = Pulse()
    for _ in range(3):
        assert looks(pulse, lambda number: 0.0, STILL_LOOKS - 1) is None
        assert pulse.silent
        pulse.heard()
        assert not pulse.silent


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
