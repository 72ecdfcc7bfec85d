"""Models of the Hugging Face hub that the catalog does not have, by their names there: `OWNER/REPOSITORY[@REVISION]`.

The hub answers with the commit, its files and their hashes. The store records them at the first pull; from then on the
name means exactly those files, whatever changes at the hub.
"""

import hashlib
import http.client
import re
import urllib.parse
import urllib.request
from pathlib import Path

import msgspec

from antiphon.models.catalog import ModelEntry, ModelFile, Source
from antiphon.models.fetch import HTTP_TIMEOUT_S, PullFailed, hub_endpoint

MAX_ANSWER_BYTES = 16 << 20  # of the hub's answer on a repository, and of a file without SHA-256 there
# The files of a CTranslate2 model of Whisper; the vocabulary has one of two forms.
FILES = frozenset(
    ("config.json", "model.bin", "tokenizer.json", "vocabulary.json", "vocabulary.txt", "preprocessor_config.json")
)
NEEDED = frozenset(("config.json", "model.bin", "tokenizer.json"))
_NAME = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[A-Za-z0-9][\w.-]*))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Large(msgspec.Struct):
    sha256: str
    size: int


class _File(msgspec.Struct):
    rfilename: str
    size: int = 0
    lfs: _Large | None = None


class _Repository(msgspec.Struct):
    sha: str
    siblings: list[_File]
    tags: list[str] = []


def is_hub_name(model: str) -> bool:
    """Return whether `model` is a name of the hub, and not a folder of this machine."""
    return _NAME.fullmatch(model) is not None and not Path(model).expanduser().exists()


def folder_name(model: str) -> str:
    """Return the name of its folder in the store. No catalog model has it: their names have no capital letters."""
    return "HUB--" + re.sub(r"[/@]", "--", model)


def look_up(model: str) -> ModelEntry:
    """Return what the hub has under that name now. Raises `PullFailed`."""
    named = _NAME.fullmatch(model)
    if named is None:
        raise PullFailed(f"{model!r} is not OWNER/REPOSITORY[@REVISION]")
    repository, endpoint = named["repository"], hub_endpoint()
    revision = urllib.parse.quote(named["revision"] or "main")
    answer = _read(f"{endpoint}/api/models/{repository}/revision/{revision}?blobs=true")
    try:
        found = msgspec.json.decode(answer, type=_Repository)
    except msgspec.MsgspecError as error:
        raise PullFailed(f"hf:{model}: the hub's answer makes no sense") from error
    if not _COMMIT.fullmatch(found.sha):
        raise PullFailed(f"hf:{model}: the hub does not say which commit it is")
    wanted = [file for file in found.siblings if file.rfilename in FILES]
    if missing := NEEDED - {file.rfilename for file in wanted}:
        raise PullFailed(f"hf:{model} is no CTranslate2 model of Whisper: it has no {', '.join(sorted(missing))}")
    base = f"{endpoint}/{repository}/resolve/{found.sha}"
    files = tuple(_pinned(file, f"{base}/{file.rfilename}") for file in wanted)
    licence = next((tag.removeprefix("license:") for tag in found.tags if tag.startswith("license:")), "not stated")
    return ModelEntry(
        folder_name(model), "speech-to-text", licence, (Source("hf", f"{repository}@{found.sha}"),), files
    )


def _pinned(file: _File, url: str) -> ModelFile:
    """Return the file with its SHA-256: from the hub for a large file, computed for a small one."""
    if file.lfs is not None:
        if not _SHA256.fullmatch(file.lfs.sha256) or file.lfs.size < 0:
            raise PullFailed(f"{url}: the hub does not say what it hashes to")
        return ModelFile(file.rfilename, file.lfs.size, file.lfs.sha256)
    data = _read(url)
    return ModelFile(file.rfilename, len(data), hashlib.sha256(data).hexdigest())


def _read(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_S) as answer:
            data: bytes = answer.read(MAX_ANSWER_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise PullFailed(f"{url}: {error}") from error
    if len(data) > MAX_ANSWER_BYTES:
        raise PullFailed(f"{url}: more than {MAX_ANSWER_BYTES} bytes")
    return data
