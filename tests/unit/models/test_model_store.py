"""The store against small sources: a folder, a wheel that pip finds without a network, a hub on the loopback."""

import fcntl
import hashlib
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from antiphon.core.errors import UnknownModel
from antiphon.models import Catalog, ModelAbsent, ModelDamaged, ModelEntry, PullFailed, Store

CONTENT = {
    "encoder.bin": Random(1).randbytes(300_000),
    "deep/decoder.bin": Random(2).randbytes(1_500_000),
    "words.txt": b"call and response\n",
}
WHEEL_SOURCE = "pypi:tiny-voice==1.0/tiny_voice/assets?platform=win_amd64"
HUB_SOURCE = "hf:owner/voice@main/onnx"


def entry(name: str, *sources: str, files: dict[str, bytes] = CONTENT) -> ModelEntry:
    facts = {file: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for file, data in files.items()}
    return ModelEntry.from_mapping(
        name, {"kind": "speech-to-text", "licence": "MIT", "sources": list(sources), "files": facts}
    )


def catalog(*entries: ModelEntry) -> Catalog:
    return {one.name: one for one in entries}


def assert_whole(store: Store, name: str, files: dict[str, bytes] = CONTENT) -> None:
    folder = store.path(name)
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == files


def assert_tidy(store: Store) -> None:
    """Nothing but models and the lock is left behind."""
    assert sorted(path.name for path in store.root.iterdir()) == sorted([".lock", *store.catalog])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The content as files."""
    base = tmp_path / "source"
    for name, data in CONTENT.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return base


def rebuild(wheel: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"tiny_voice/assets/{name}", data)
        information = "tiny_voice-1.0.dist-info"
        archive.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: tiny-voice\nVersion: 1.0\n")
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-win_amd64\n"
        )
        archive.writestr(f"{information}/RECORD", "")


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The content in `tiny_voice/assets` of the wheel of tiny-voice 1.0, for a platform that is not this one."""
    links = tmp_path / "links"
    links.mkdir()
    path = links / "tiny_voice-1.0-py3-none-win_amd64.whl"
    rebuild(path, CONTENT)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    return path


@dataclass
class Hub:
    """What the loopback hub serves and saw."""

    content: dict[str, bytes]
    ranges: bool = True
    cut_after: int | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that serves `owner/voice` at `main`, and can be told to break off or to know no ranges."""
    served = Hub(dict(CONTENT))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/owner/voice/resolve/main/onnx/")
            asked = self.headers.get("Range", "")
            served.requests.append((name, asked))
            if name not in served.content:
                self.send_error(404)
                return
            data = served.content[name]
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and served.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start : served.cut_after])

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def store_of(root: Path, *sources: str, offline: bool = False) -> Store:
    return Store(root / "models", offline, catalog(entry("voice", *sources)))


# -- what a pull leaves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "pypi", "hf"])
def test_a_pull_brings_exactly_the_files(kind: str, tmp_path: Path, folder: Path, wheel: Path, hub: Hub) -> None:
    store = store_of(tmp_path, {"file": f"file:{folder}", "pypi": WHEEL_SOURCE, "hf": HUB_SOURCE}[kind])
    seen: list[tuple[str, int, int]] = []
    assert [status.state for status in store.status()] == ["absent"]
    store.pull(["voice"], lambda *report: seen.append(report))
    assert_whole(store, "voice")
    assert_tidy(store)
    assert [status.state for status in store.status()] == ["present"]
    size_bytes = store.catalog["voice"].size_bytes
    done = [done_bytes for name, done_bytes, total in seen if (name, total) == ("voice", size_bytes)]
    assert done == sorted(done)
    assert done[-1] == size_bytes


def test_a_whole_model_is_not_fetched_again(tmp_path: Path, folder: Path) -> None:
    store = store_of(tmp_path, f"file:{folder}")
    store.pull(["voice"])
    shutil.rmtree(folder)
    store.pull(["voice", "voice"])
    assert_whole(store, "voice")


def test_a_file_source_may_be_the_file_itself(tmp_path: Path, folder: Path) -> None:
    one = {"renamed.bin": CONTENT["encoder.bin"]}
    store = Store(tmp_path / "models", catalog=catalog(entry("one", f"file:{folder}/encoder.bin", files=one)))
    store.pull(["one"])
    assert_whole(store, "one", one)


def test_the_next_source_serves_what_the_first_could_not(tmp_path: Path, folder: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(folder, half)
    (half / "words.txt").unlink()
    (folder / "encoder.bin").unlink()
    store = store_of(tmp_path, f"file:{half}", f"file:{folder}")
    store.pull(["voice"])
    assert_whole(store, "voice")


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_an_absent_model_is_named_with_the_command_that_pulls_it(tmp_path: Path) -> None:
    with pytest.raises(ModelAbsent, match="voice is not here: run `antiphon models pull voice`"):
        store_of(tmp_path, "file:/nowhere").path("voice")
    with pytest.raises(UnknownModel, match="model nova not found; available: voice"):
        store_of(tmp_path, "file:/nowhere").path("nova")


def test_offline_never_fetches(tmp_path: Path, folder: Path) -> None:
    offline = store_of(tmp_path, f"file:{folder}", offline=True)
    with pytest.raises(ModelAbsent, match=r"`antiphon models pull voice` .*offline"):
        offline.pull(["voice"])
    assert not offline.root.exists()
    store_of(tmp_path, f"file:{folder}").pull(["voice"])
    offline.pull(["voice"])
    (offline.path("voice") / "words.txt").write_bytes(b"call, and response")
    with pytest.raises(ModelDamaged, match="offline"):
        offline.pull(["voice"])


@pytest.mark.parametrize(
    ("kind", "damage"),
    [(kind, damage) for kind in ("file", "hf") for damage in ("other", "longer", "shorter", "missing")]
    + [("pypi", "other")],
)
def test_a_source_with_other_bytes_is_refused(
    kind: str, damage: str, tmp_path: Path, folder: Path, wheel: Path, hub: Hub
) -> None:
    good = CONTENT["words.txt"]
    wrong = {"other": good.swapcase(), "longer": good + b"!", "shorter": good[:-1], "missing": None}[damage]
    if wrong is None:
        (folder / "words.txt").unlink()
        del hub.content["words.txt"]
    else:
        (folder / "words.txt").write_bytes(wrong)
        hub.content["words.txt"] = wrong
        rebuild(wheel, {**CONTENT, "words.txt": wrong})
    store = store_of(tmp_path, {"file": f"file:{folder}", "pypi": WHEEL_SOURCE, "hf": HUB_SOURCE}[kind])
    with pytest.raises(PullFailed, match=r"words\.txt"):
        store.pull(["voice"])
    with pytest.raises(ModelAbsent):
        store.path("voice")
    (folder / "words.txt").write_bytes(good)
    hub.content["words.txt"] = good
    rebuild(wheel, CONTENT)
    store.pull(["voice"])
    assert_whole(store, "voice")
    assert_tidy(store)


def test_pip_says_why(tmp_path: Path, wheel: Path) -> None:
    with pytest.raises(PullFailed, match=r"pip could not download tiny-voice==2.0: .*No matching distribution"):
        store_of(tmp_path, "pypi:tiny-voice==2.0").pull(["voice"])


def test_a_full_disk_is_said(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "models").write_text("a file where the store should be")
    with pytest.raises(PullFailed, match="models"):
        store_of(tmp_path, f"file:{folder}").pull(["voice"])


# -- damage on disk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_file_is_found_and_pulled_anew(damage: str, tmp_path: Path, hub: Hub) -> None:
    store = store_of(tmp_path, HUB_SOURCE)
    store.pull(["voice"])
    hub.requests.clear()
    victim = store.path("voice") / "deep" / "decoder.bin"
    data = bytearray(victim.read_bytes())
    data[700_000] ^= 1
    if damage == "gone":
        victim.unlink()
    else:
        victim.write_bytes(data if damage == "flipped" else data[:-1])
    if damage != "flipped":
        assert [status.state for status in store.status()] == ["damaged"]
        with pytest.raises(ModelDamaged, match=r"deep/decoder\.bin"):
            store.path("voice")
    with pytest.raises(ModelDamaged, match=r"voice is damaged \(deep/decoder.bin\): run `antiphon models pull voice`"):
        store.verify("voice")
    store.pull(["voice"])
    assert_whole(store, "voice")
    assert_tidy(store)
    assert hub.requests == [("deep/decoder.bin", "")]


def test_another_version_of_a_model_lies_beside_it(tmp_path: Path, folder: Path) -> None:
    old, new = entry("voice", f"file:{folder}"), entry("voice", f"file:{folder}", files={"words.txt": b"louder\n"})
    first, second = (Store(tmp_path / "models", catalog=catalog(one)) for one in (old, new))
    first.pull(["voice"])
    (folder / "words.txt").write_bytes(b"louder\n")
    second.pull(["voice"])
    assert_whole(first, "voice")
    assert_whole(second, "voice", {"words.txt": b"louder\n"})


# -- going on after a stop ---------------------------------------------------------------------------------------------


def test_a_hub_download_goes_on_where_it_stopped(tmp_path: Path, hub: Hub) -> None:
    store = store_of(tmp_path, HUB_SOURCE)
    hub.cut_after = 1_200_000
    with pytest.raises(PullFailed, match=r"decoder\.bin"):
        store.pull(["voice"])
    hub.cut_after = None
    seen: list[int] = []
    store.pull(["voice"], lambda name, done_bytes, total_bytes: seen.append(done_bytes))
    assert hub.requests == [
        ("encoder.bin", ""),
        ("deep/decoder.bin", ""),
        ("deep/decoder.bin", "bytes=1200000-"),
        ("words.txt", ""),
    ]
    assert seen[0] >= 1_500_000
    assert_whole(store, "voice")


def test_a_hub_without_ranges_sends_everything_again(tmp_path: Path, hub: Hub) -> None:
    store = store_of(tmp_path, HUB_SOURCE)
    hub.cut_after, hub.ranges = 1_200_000, False
    with pytest.raises(PullFailed):
        store.pull(["voice"])
    hub.cut_after = None
    store.pull(["voice"])
    assert_whole(store, "voice")


def test_what_is_all_here_but_unchecked_is_not_asked_for(tmp_path: Path, hub: Hub) -> None:
    store = store_of(tmp_path, HUB_SOURCE)
    staged = store.root / ".staging" / f"voice-{store.catalog['voice'].fingerprint}"
    staged.mkdir(parents=True)
    (staged / "encoder.bin.part").write_bytes(CONTENT["encoder.bin"])
    store.pull(["voice"])
    assert_whole(store, "voice")
    assert [name for name, _ in hub.requests] == ["deep/decoder.bin", "words.txt"]


def test_what_is_too_long_is_fetched_again(tmp_path: Path, hub: Hub) -> None:
    """A kill can leave one byte too many, after which no range begins."""
    store = store_of(tmp_path, HUB_SOURCE)
    staged = store.root / ".staging" / f"voice-{store.catalog['voice'].fingerprint}"
    staged.mkdir(parents=True)
    (staged / "encoder.bin.part").write_bytes(CONTENT["encoder.bin"] + b"x")
    store.pull(["voice"])
    assert_whole(store, "voice")
    assert hub.requests[0] == ("encoder.bin", "")


def test_what_is_all_staged_needs_no_source(tmp_path: Path, folder: Path) -> None:
    store = store_of(tmp_path, f"file:{tmp_path}/gone")
    staged = store.root / ".staging" / f"voice-{store.catalog['voice'].fingerprint}"
    shutil.copytree(folder, staged)
    store.pull(["voice"])
    assert_whole(store, "voice")


def test_a_part_that_turns_out_wrong_is_dropped(tmp_path: Path, hub: Hub) -> None:
    store = store_of(tmp_path, HUB_SOURCE)
    good, hub.content["deep/decoder.bin"] = hub.content["deep/decoder.bin"], bytes(1_500_000)
    hub.cut_after = 1_200_000
    with pytest.raises(PullFailed):
        store.pull(["voice"])
    hub.content["deep/decoder.bin"], hub.cut_after = good, None
    with pytest.raises(PullFailed, match="SHA-256"):
        store.pull(["voice"])
    store.pull(["voice"])
    assert_whole(store, "voice")


class Stop(BaseException):
    """Ends a pull as Ctrl-C would."""


def test_a_wheel_is_downloaded_once_for_two_models_and_two_tries(tmp_path: Path, wheel: Path) -> None:
    words = {"words.txt": CONTENT["words.txt"]}
    both = catalog(entry("voice", WHEEL_SOURCE), entry("words", WHEEL_SOURCE, files=words))
    store = Store(tmp_path / "models", catalog=both)

    def stop(name: str, done_bytes: int, total_bytes: int) -> None:
        if name == "voice":
            raise Stop

    with pytest.raises(Stop):
        store.pull(["voice", "words"], stop)
    wheel.unlink()
    store.pull(["voice", "words"])
    assert_whole(store, "voice")
    assert_whole(store, "words", words)
    assert_tidy(store)


# -- kills and rivals --------------------------------------------------------------------------------------------------


def pull_in_child(store: Store, last_line: int) -> int | None:
    """Pull in a child that kills itself when it has run so many lines of Python; how many it ran if it ended."""
    count_out, count_in = os.pipe()
    child = os.fork()
    if child == 0:
        lines = 0

        def trace(frame, event, argument):  # type: ignore[no-untyped-def]
            nonlocal lines
            lines += 1
            if lines == last_line:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        try:
            sys.settrace(trace)
            store.pull(["voice"])
            sys.settrace(None)
            os.write(count_in, str(lines).encode())
        finally:
            os._exit(0)
    os.close(count_in)
    with os.fdopen(count_out) as counted:
        lines_run = counted.read()
    _, status = os.waitpid(child, 0)
    assert lines_run or os.WIFSIGNALED(status)
    return int(lines_run) if lines_run else None


def assert_none_or_whole(store: Store) -> None:
    try:
        store.path("voice")
    except ModelAbsent:
        return
    assert_whole(store, "voice")


@pytest.mark.parametrize("before", ["nothing", "a damaged model"])
def test_killed_on_any_line_there_is_no_model_or_a_whole_one(before: str, tmp_path: Path, folder: Path) -> None:
    def prepared(name: str) -> Store:
        store = store_of(tmp_path / name, f"file:{folder}")
        if before == "a damaged model":
            store.pull(["voice"])
            (store.path("voice") / "words.txt").write_bytes(b"cull and response\n")
        return store

    lines = pull_in_child(prepared("whole"), 0)
    assert lines
    for kill in range(25):
        store = prepared(str(kill))
        assert pull_in_child(store, lines - kill * lines // 25) is None
        try:
            store.verify("voice")
        except ModelAbsent:
            pass
        except ModelDamaged:
            assert before == "a damaged model"  # the pull had not come to it yet
        else:
            assert_whole(store, "voice")
        store.pull(["voice"])
        assert_whole(store, "voice")
        assert_tidy(store)


PULL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_model_store import store_of
store_of(Path(sys.argv[2]), sys.argv[3]).pull(["voice"], lambda *report: print(*report, flush=True))
"""


def start_pull(root: Path, source: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PULL, str(Path(__file__).parent), str(root), source]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_pull_through_pip_survives_kills(tmp_path: Path, wheel: Path) -> None:
    store = store_of(tmp_path, WHEEL_SOURCE)
    for reports in (1, 2, 4, 6):  # while pip runs at first, while the files are copied later
        process = start_pull(tmp_path, WHEEL_SOURCE)
        assert process.stdout
        for _ in range(reports):
            process.stdout.readline()
        process.kill()
        process.communicate()
        assert_none_or_whole(store)
    store.pull(["voice"])
    assert_whole(store, "voice")


def test_what_a_killed_pull_left_is_swept_up_by_the_next(tmp_path: Path, folder: Path) -> None:
    store = store_of(tmp_path, f"file:{folder}")
    store.pull(["voice"])
    unfinished = store.root / ".staging" / "downloads" / "k1ll3d.part"
    unfinished.mkdir(parents=True)
    (unfinished / "tiny_voice-1.0-py3-none-any.whl").write_bytes(b"half")
    store.pull(["voice"])
    assert_tidy(store)


def test_a_rival_waits_for_the_lock(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    store, waiting, sleep = store_of(tmp_path, HUB_SOURCE), threading.Event(), time.sleep

    def sleep_briefly(seconds: float) -> None:
        waiting.set()
        sleep(0.001)

    monkeypatch.setattr("antiphon.models.store.time.sleep", sleep_briefly)
    rival = threading.Thread(target=store.pull, args=(["voice"],))

    def let_the_rival_come(name: str, done_bytes: int, total_bytes: int) -> None:
        if rival.ident is None:
            rival.start()
            assert waiting.wait(30)

    store.pull(["voice"], let_the_rival_come)
    rival.join()
    assert sorted(hub.requests) == sorted((name, "") for name in CONTENT)
    assert_whole(store, "voice")


def test_waiting_for_a_rival_has_an_end(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path, f"file:{folder}")
    monkeypatch.setattr("antiphon.models.store.LOCK_TIMEOUT_S", 0)
    store.root.mkdir()
    with (store.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PullFailed, match="another process"):
            store.pull(["voice"])


def test_rivals_in_processes_of_their_own_fetch_once(tmp_path: Path, hub: Hub) -> None:
    rivals = [start_pull(tmp_path, HUB_SOURCE) for _ in range(3)]
    assert [(rival.communicate(timeout=60)[1], rival.returncode) for rival in rivals] == [(b"", 0)] * 3
    assert_whole(store_of(tmp_path, HUB_SOURCE), "voice")
    assert sorted(hub.requests) == sorted((name, "") for name in CONTENT)
