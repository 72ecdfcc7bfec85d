"""The master key, with which the keys of all projects are stored encrypted.

It comes from a file, from the environment, or from what a command prints, as 32 bytes in base64 or in hexadecimal
digits. If none of them is set, the server makes one in the data directory at its first start: that protects copies of
the databases, but not a copy of the whole directory.
"""

import base64
import binascii
import logging
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from antiphon.core.errors import CallerError
from antiphon.storage.files import tighten, write_once

FILE_NAME = "master.key"  # in the data directory
VARIABLE = "ANTIPHON_MASTER_KEY"
KEY_BYTES = 32
COMMAND_S = 60.0  # within which the command answers
MAX_TEXT = 4096  # bytes of a file, or of a command's output

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MasterKeySource:
    """Where the master key comes from: what the `command` prints, the `text` of the variable, or the `file`, in this
    order. Only a file in the data directory `may_be_made`.
    """

    file: Path
    text: str = field(default="", repr=False)
    command: tuple[str, ...] = ()
    may_be_made: bool = False

    @property
    def name(self) -> str:
        """The source, for messages."""
        if self.command:
            return f"the command {self.command[0]}"
        return f"the variable {VARIABLE}" if self.text else str(self.file)

    def read(self) -> bytes | None:
        """Return the key; `None` if its file does not exist. Raises `CallerError`, which never repeats it."""
        if self.command:
            return self._parse(self._run())
        if self.text:
            return self._parse(self.text)
        try:
            self._tighten()
            with open(self.file, "rb") as opened:
                return self._parse(opened.read(MAX_TEXT).decode("latin-1"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CallerError(f"the master key cannot be read from {self.file}: {error.strerror}") from None

    def _tighten(self) -> None:
        """Restrict the file, as far as it is ours: secrets are mounted read-only, and others say who reads them."""
        try:
            tighten(self.file)
        except OSError as error:
            if self.may_be_made:
                raise
            log.warning("the master key can be read by others", extra={"reason": f"{self.file}: {error.strerror}"})

    def make(self) -> bytes:
        """Make a key in the file, unless another process did, and return it. Raises `CallerError` if the file is none
        that the server may make.
        """
        if not self.may_be_made:
            raise CallerError(f"the master key is missing: {self.file} does not exist")
        try:
            write_once(self.file, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        except OSError as error:
            raise CallerError(f"the master key cannot be written to {self.file}: {error.strerror}") from None
        log.info("a master key was made: keep it elsewhere", extra={"reason": str(self.file)})
        made = self.read()
        assert made is not None
        return made

    def _run(self) -> str:
        try:
            done = subprocess.run(self.command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CallerError(f"the master key is missing: {self.name} failed: {type(error).__name__}") from None
        if done.returncode:
            raise CallerError(f"the master key is missing: {self.name} failed with {done.returncode}")
        return done.stdout[:MAX_TEXT].decode("latin-1")

    def _parse(self, text: str) -> bytes:
        text = text.strip()
        try:
            key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            key = b""
        if len(key) != KEY_BYTES:
            raise CallerError(
                f"the master key from {self.name} is invalid: expected {KEY_BYTES} bytes in base64 (44 characters)"
                f" or in hexadecimal digits ({2 * KEY_BYTES})"
            )
        return key


def find_source(
    data_dir: Path, environment: Mapping[str, str], file: str = "", command: tuple[str, ...] = ()
) -> MasterKeySource:
    """Return the configured source: a `file` or a `command`, else the variable, else the data directory's own file.
    Raises `CallerError` if several are set.
    """
    text = environment.get(VARIABLE, "")
    if sum(map(bool, (file, command, text))) > 1:
        raise CallerError(f"the master key has several sources: set one of key_file, key_command and {VARIABLE}")
    path = Path(file).expanduser() if file else data_dir / FILE_NAME
    return MasterKeySource(path, text, command, may_be_made=not (file or command or text))
