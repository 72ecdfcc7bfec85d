"""Honest callers of four vendors' protocols beside all the attackers at once (`make soak`): the honest keep their
goodput, memory and descriptors come back, and the ledger says what the callers counted themselves.

`ANTIPHON_SOAK_S` is how long it takes, in seconds; without it, it is so short that the goodput is not judged, all else
is. `ANTIPHON_SOAK_ONLY` names attacks, separated by commas, where not all are meant; `ANTIPHON_SOAK_SLACK` multiplies
the objectives. What was measured is printed, and written to `ANTIPHON_SOAK_REPORT` as JSON.

A quarter of the time the honest are alone, for five eighths the attackers are there, then the honest are alone again.
Once in ten minutes of the attack the operator's own fault is added: a worker is stopped (SIGSTOP), which the server
must notice and mend within `MEND_S`. Calls that need it and overlap this are left out of the goodput, as nobody can
keep them; they are not left out of the ledger.
"""

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import sqlite3
import sys
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp
import honest
import pytest
from honest import CALL_S, Callers, Receipt, tensors

from antiphon.bench import clips, process
from antiphon.bench.measure import FINAL_OBJECTIVE_MS, TTFB_OBJECTIVE_MS, percentiles
from antiphon.cli.keys import now_unix_ms, open_control
from antiphon.core.identity import USUAL_SCOPES
from antiphon.core.usage import By, Dimension, UsageQuery
from antiphon.metering import usage
from antiphon.stores.sqlite.usage import SqliteUsage
from serving import start

SOAK_S = int(os.environ.get("ANTIPHON_SOAK_S", "32"))
JUDGED = "ANTIPHON_SOAK_S" in os.environ
ONLY = [name for name in os.environ.get("ANTIPHON_SOAK_ONLY", "").split(",") if name]
REPORT = Path(os.environ.get("ANTIPHON_SOAK_REPORT", ".cache/soak.json"))

PHASES = ("alone", "attacked", "after")
ATTACKING = ("flooding", "breaking", "replaying")  # their projects
KEEPS = 0.95  # of the goodput alone
HEALTHY = 0.5  # of calls that are good alone; with fewer there is little to lose
CHANCE = 2.0  # standard errors of the difference, which a short soak is allowed
MOST_MB, MOST_SHARE = 128, 1.15  # what memory may have grown by at the end: what is cached is kept, within bounds
MOST_DESCRIPTORS = 16
SETTLE_S = 60
STOP_EACH_S, MEND_S = 600, 20
DESCRIPTORS = 1024
PIECE_MS = 2_500  # no piece of speech is longer
ROUNDED_MS = 5  # milliseconds are cut off piece by piece

STOPPED = {  # a worker's module: the kinds of calls that it is needed for
    "engines.piper.worker": ("openai speech", "openai realtime", "elevenlabs speech", "elevenlabs live"),
    "engines.openvino.worker": ("openai chat", "openai realtime"),
    "audio.worker": ("openai recording",),
}
SETTINGS = """
[limits]
upload_mb = 16
uploads_mb = 64
[limits.per_project]
live_streams = 8
live_decoders = 2
recordings = 1
generations = 2
speeches = 2
conversations = 2
[objectives]
stt_ttfb_ms = {stt_ttfb_ms}
stt_final_ms = {stt_final_ms}
ttft_ms = {ttft_ms}
tpot_ms = {tpot_ms}
llm_total_ms = {llm_total_ms}
tts_ttfb_ms = {tts_ttfb_ms}
[models]
"nova-3" = "moonshine-tiny-en"
"whisper-1" = "moonshine-tiny-en"
"gpt-4o-mini" = {{ engines = ["smollm"] }}
"all-minilm-l6-v2" = {{ engines = ["minilm"] }}
"tts-1" = {{ engines = ["joe"] }}
"eleven_multilingual_v2" = "tts-1"
"double" = {{ engines = ["tensors"] }}
[voices]
alloy = "joe"
"aura-2-thalia-en" = "joe"
[engines.smollm]
kind = "openvino"
model = "smollm2-135m-instruct"
weights = "int8"
[engines.minilm]
kind = "embedding"
model = "all-minilm-l6-v2"
[engines.joe]
kind = "piper"
model = "en-us-joe-medium"
[engines.tensors]
kind = "open-inference"
url = "{tensors}"
model = "double"
"""


OBJECTIVES = {
    "stt_ttfb_ms": TTFB_OBJECTIVE_MS,
    "stt_final_ms": FINAL_OBJECTIVE_MS,
    "ttft_ms": honest.TTFT_MS,
    "tpot_ms": honest.TPOT_MS,
    "llm_total_ms": honest.TOTAL_MS,
    "tts_ttfb_ms": honest.TTS_TTFB_MS,
}


@dataclass(frozen=True, slots=True)
class Held:
    """What the server and its children hold."""

    memory_mb: int
    descriptors: int
    processes: int


@dataclass(slots=True)
class Kind:
    """One kind of call, by phase: how many were judged, how many of them came to their end, and how many of those met
    every objective; how long they took.
    """

    judged: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    good: Counter[str] = field(default_factory=Counter)
    waited_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    missed: Counter[str] = field(default_factory=Counter)  # why, while attacked

    def add(self, phase: str, call: Receipt) -> None:
        self.judged[phase] += len(call.verdicts)
        self.whole[phase] += len(call.waited_ms)
        self.good[phase] += call.verdicts.count("")
        self.waited_ms[phase] += call.waited_ms
        if phase == "attacked":
            self.missed.update(why for why in call.verdicts if why)

    def record(self) -> dict[str, object]:
        counts = {name: dict(getattr(self, name)) for name in ("judged", "whole", "good", "missed")}
        return counts | {"p95_ms": {phase: self.p95_ms(phase) for phase in PHASES}}

    def p95_ms(self, phase: str) -> float | None:
        return percentiles(self.waited_ms[phase]).p95

    def kept(self, phase: str) -> bool:
        """Whether it is as good as alone, by all that so few calls can tell."""
        return all(self._kept(counted, phase) for counted in (self.whole, self.good))

    def _kept(self, counted: Counter[str], phase: str) -> bool:
        calls = [max(1, self.judged[each]) for each in ("alone", phase)]
        alone, then = counted["alone"] / calls[0], counted[phase] / calls[1]
        spread = alone * (1 - alone) / calls[0] + then * (1 - then) / calls[1]
        return then >= KEEPS * alone - CHANCE * spread**0.5 or not self.judged[phase]


# -- the server --------------------------------------------------------------------------------------------------------


def settings(tensors: str) -> str:
    """The server's, with the objectives that the honest judge it by."""
    return SETTINGS.format(tensors=tensors, **{name: round(ms * honest.SLACK) for name, ms in OBJECTIVES.items()})


def family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    with contextlib.suppress(OSError):
        return [pid, *(each for child in children.read_text().split() for each in family(int(child)))]
    return []


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


def holds(pid: int) -> Held:
    """Descriptors are those of the server itself: its children have none for a caller."""
    return Held(process.usage(pid).rss_bytes >> 20, len(list(Path(f"/proc/{pid}/fd").iterdir())), len(family(pid)))


async def watched(pid: int, most: dict[str, int]) -> None:
    """The most that it held."""
    while True:
        with contextlib.suppress(OSError):
            for name, value in asdict(holds(pid)).items():
                most[name] = max(most.get(name, 0), value)
        await asyncio.sleep(1)


async def stopper(pid: int, seconds: float, stopped: list[tuple[str, float]]) -> None:
    """Stops a worker each `STOP_EACH_S`; one that is still there when it must be mended is let go on."""
    modules = list(STOPPED)
    random.shuffle(modules)
    for n in range(int(seconds // STOP_EACH_S)):
        await asyncio.sleep(STOP_EACH_S / 2)
        module = modules[n % len(modules)]
        for child in family(pid)[1:]:
            with contextlib.suppress(OSError):
                if module in command(child):
                    os.kill(child, signal.SIGSTOP)
                    stopped.append((module, time.monotonic()))
                    asyncio.get_running_loop().call_later(MEND_S + 5, _go_on, child)
                    break
        await asyncio.sleep(STOP_EACH_S / 2)


def _go_on(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGCONT)


async def attack(url: str, keys: dict[str, str], seconds: float) -> asyncio.subprocess.Process:
    """Starts the attackers, and waits until they begin."""
    told = json.dumps({"url": url, **keys, "seconds": seconds, "only": ONLY})
    script = Path(__file__).with_name("attackers.py")
    attackers = await asyncio.create_subprocess_exec(
        sys.executable, str(script), told, stdout=asyncio.subprocess.PIPE, limit=1 << 20, start_new_session=True
    )
    assert attackers.stdout is not None
    assert await attackers.stdout.readline() == b"ready\n"
    return attackers


async def metrics(url: str, wanted: str) -> dict[str, float]:
    """Those whose name holds that."""
    async with aiohttp.ClientSession() as http, http.get(url + "/metrics") as answer:
        lines = [line for line in (await answer.text()).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if wanted in name}


# -- what came of it ---------------------------------------------------------------------------------------------------


def goodput(receipts: dict[str, list[Receipt]], stopped: list[tuple[str, float]]) -> dict[str, Kind]:
    kinds: dict[str, Kind] = defaultdict(Kind)
    for phase, calls in receipts.items():
        for call in calls:
            if any(
                call.kind in STOPPED[module] and call.begun < at + MEND_S and call.ended > at for module, at in stopped
            ):
                continue
            kinds[call.kind].add(phase, call)
    return dict(kinds)


def charged(path: Path) -> dict[str, dict[str, Counter[str]]]:
    """By project and session, what the ledger says of each dimension."""
    found: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    with contextlib.closing(sqlite3.connect(path)) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        query = "SELECT project, session, dimension, sum(amount) FROM entries GROUP BY project, session, dimension"
        for project, session, dimension, amount in ledger.execute(query):
            found[project][session][dimension] += amount
    return found


def wrong_charges(receipts: list[Receipt], sessions: dict[str, Counter[str]]) -> list[str]:
    """What the callers counted and the ledger says otherwise. A call that came to its end costs exactly what it gave,
    one that did not at least that. A session that no caller knows is of a call that failed before it was told of one.
    """
    wrong, known = [], set()
    for call in receipts:
        of_it = [call.session]
        if call.kind == "openai realtime" and call.session:
            of_it = [str(uuid.uuid5(uuid.UUID(call.session), str(n))) for n in range(1, 50)]
        known |= {call.session, *of_it}
        paid = sum((sessions.get(session, Counter()) for session in of_it), Counter())
        for dimension, amount in call.counted.items():
            beyond = paid[dimension] - amount
            least, most = (-ROUNDED_MS, ROUNDED_MS) if dimension is Dimension.TTS_AUDIO_MS else (0, 0)
            if not call.whole or call.kind == "openai realtime":  # which is charged before it is heard
                most = PIECE_MS if call.whole else 1 << 60
            if not least <= beyond <= most:
                wrong.append(f"{call.kind} {call.session}: {amount} {dimension} counted, {beyond:+} in the ledger")
    strangers = len({session for session, paid in sessions.items() if any(paid.values())} - known)
    nameless = sum(not call.whole and not call.session for call in receipts)
    if strangers > nameless:
        wrong.append(f"{strangers} sessions that no caller knows, and {nameless} calls that know no session")
    return wrong


def errors(log: str) -> Counter[str]:
    """What the server logged as its own failures, and what libraries wrote beside it: their last words."""
    said = Counter(line for line in log.splitlines() if line and not line.startswith("{") and "━" not in line)
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return said + Counter(line["message"] for line in lines if line["level"] == "error")


def unended(path: Path) -> list[str]:
    """Sessions that were charged and have no end, or more than one."""
    query = "SELECT session FROM entries GROUP BY project, session HAVING sum(kind IN ('completed', 'abandoned')) != 1"
    with contextlib.closing(sqlite3.connect(path)) as ledger:
        return [f"{session} does not end once" for (session,) in ledger.execute(query)]


def table(kinds: dict[str, Kind], told: dict[str, dict[str, int]]) -> str:
    """Of each phase: calls judged, the share that came to its end, the share that was good, the P95 in milliseconds."""
    lines = [f"{'':18}" + "".join(f"{phase:>28}" for phase in PHASES)]
    for name, kind in sorted(kinds.items()):
        line = f"{name:18}"
        for phase in PHASES:
            judged = max(1, kind.judged[phase])
            shares = f"{kind.whole[phase] / judged:8.1%}{kind.good[phase] / judged:8.1%}"
            line += f"{kind.judged[phase]:>6}{shares}{kind.p95_ms(phase) or 0:6.0f}"
        lines += [line, *([f"{'':18}missed: {dict(kind.missed.most_common(5))}"] if kind.missed else [])]
    lines += ["", "attackers were told"]
    lines += [f"{name:18}{dict(Counter(results).most_common(6))}" for name, results in told.items()]
    return "\n".join(lines)


# -- the soak ----------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.xdist_group("faults")
async def test_the_honest_do_not_feel_the_others(tmp_path, models, beckett, two_cities):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, most),) * 2)  # and so has whatever is started here
    control = open_control(None, str(tmp_path))
    keys = {}
    for project in ("first", "second", *ATTACKING):
        control.create_project(project, "", now_unix_ms())
        keys[project] = control.create_key(project, "", USUAL_SCOPES, now_unix_ms())[1]
    spoken = [clips.load(path, {}) for path in (beckett, two_cities)]
    async with tensors() as upstream:
        server, url = await asyncio.to_thread(start, tmp_path, models, settings(upstream))
        try:
            recording_ms = spoken[0].samples // 16
            callers = Callers(url, keys["first"], keys["second"], spoken, beckett.read_bytes(), recording_ms)
            async with callers:
                found = await soak(callers, server.pid, url, keys)
        finally:
            server.terminate()
            code = await asyncio.to_thread(server.wait, 30)
    found["exit code"] = code
    by = (By.PROJECT,)
    found["usage"] = usage.records(await SqliteUsage(tmp_path / "ledger.db").totals(UsageQuery(by=by)), by)
    check(found, callers, tmp_path, list(keys.values()))


async def soak(callers: Callers, pid: int, url: str, keys: dict[str, str]) -> dict[str, object]:
    """Alone, attacked, and alone again."""
    await callers.warm()
    receipts = {"alone": await callers.run(SOAK_S / 4)}
    before = holds(pid)
    seconds, peak, stopped = SOAK_S * 5 / 8, {}, []
    tasks = [asyncio.create_task(watched(pid, peak)), asyncio.create_task(stopper(pid, seconds, stopped))]
    attackers = await attack(url, {name: keys[name] for name in ATTACKING}, seconds)
    try:
        receipts["attacked"] = await callers.run(seconds)
        async with asyncio.timeout(CALL_S * 2):
            said, _ = await attackers.communicate()
    finally:
        for task in tasks:
            task.cancel()
        if attackers.returncode is None:
            attackers.kill()
    receipts["after"] = await callers.run(SOAK_S / 8)
    async with asyncio.timeout(SETTLE_S + 5):
        for _ in range(SETTLE_S):
            if (after := holds(pid)).descriptors <= before.descriptors + MOST_DESCRIPTORS:
                break
            await asyncio.sleep(1)
    return {
        "receipts": receipts,
        "stopped": stopped,
        "attackers": json.loads(said),
        "held": {"before": asdict(before), "most": peak, "after": asdict(after)},
        "loop": await metrics(url, "loop"),
        "restarts": await metrics(url, "restarts"),
    }


def lost_goodput(kinds: dict[str, Kind]) -> list[str]:
    """What was worse while others attacked, or afterwards, than alone."""
    poor = [name for name, kind in sorted(kinds.items()) if kind.good["alone"] < HEALTHY * kind.judged["alone"]]
    lost = [f"{name} is poor even alone, so this says nothing (ANTIPHON_SOAK_SLACK)" for name in poor]
    for phase in PHASES[1:]:
        lost += [f"{name} was not kept ({phase})" for name, kind in sorted(kinds.items()) if not kind.kept(phase)]
    return lost


def check(found: dict[str, object], callers: Callers, folder: Path, secrets: list[str]) -> None:
    """Reports everything, then fails for all that is wrong."""
    ledger = folder / "ledger.db"
    kinds, by_project = goodput(found["receipts"], found["stopped"]), charged(ledger)
    paid = sum(each[Dimension.LLM_OUTPUT_TOKENS] for each in by_project["replaying"].values())
    log = (folder / "log").read_text()
    faults = wrong_charges(callers.receipts, by_project["first"] | by_project["second"]) + unended(ledger)
    if found["attackers"]["received"] > paid:
        faults.append(f"{found['attackers']['received']} tokens received for {paid} that were paid for")
    if JUDGED:
        faults += lost_goodput(kinds)
    before, after = found["held"]["before"], found["held"]["after"]
    if after["descriptors"] > before["descriptors"] + MOST_DESCRIPTORS:
        faults.append("descriptors did not come back")
    if after["memory_mb"] > before["memory_mb"] * MOST_SHARE + MOST_MB:
        faults.append("memory did not come back")
    faults += ["a key or a text is in the log"] * any(secret in log for secret in (*secrets, honest.SENTENCE[:30]))
    faults += [f"exit code {found['exit code']}"] * bool(found["exit code"])

    report = {name: value for name, value in found.items() if name != "receipts"}
    report["errors"] = dict(errors(log))
    report["goodput"] = {name: kind.record() for name, kind in sorted(kinds.items())}
    report["faults"] = faults
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2))
    print(f"\n{table(kinds, found['attackers']['told'])}\n")
    for name in ("held", "loop", "restarts", "stopped", "errors"):
        print(f"{name}: {report[name]}")
    assert faults == []
