"""Reads the configuration from its sources, in increasing priority: the defaults, a TOML file, the environment
(`ANTIPHON_HOST`, `ANTIPHON_PORT`, `ANTIPHON_DATA_DIR`, `ANTIPHON_API_KEY` and those in `ENVIRONMENT`), the command
line. Every error names the setting.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from antiphon.config.check import Invalid, check
from antiphon.config.settings import MODELS, RECOGNISERS, Config

ENVIRONMENT = {
    "ANTIPHON_HOST": "host",
    "ANTIPHON_PORT": "port",
    "ANTIPHON_DATA_DIR": "data_dir",
    "ANTIPHON_API_KEY": "api_key",
    "ANTIPHON_OFFLINE": "offline",
    "ANTIPHON_TLS_CERT": "tls_cert",
    "ANTIPHON_TLS_KEY": "tls_key",
    "ANTIPHON_TLS_SELF_SIGNED": "tls_self_signed",
    "ANTIPHON_GRPC_PORT": "grpc_port",
}


_DEFAULTS = Config()


def load(path: Path | None, environment: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration. `overrides` are the command line's, by field name. Raises `Invalid`."""
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = msgspec.toml.decode(path.read_bytes())
        except OSError as error:
            raise Invalid(f"--config {path}: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"--config {path}: {error}") from None
    if "engines" in settings:
        settings.setdefault("voices", {})  # the default names refer to voices that are replaced
        _imply_recognisers(settings)
    settings |= {field: environment[name] for name, field in ENVIRONMENT.items() if environment.get(name)}
    settings |= {field: value for field, value in (overrides or {}).items() if value is not None}
    if "grpc_port" in settings:
        port, table = settings.pop("grpc_port"), settings.setdefault("grpc", {})
        if isinstance(table, dict):
            settings["grpc"] = table | {"port": _from_text("port", port) if isinstance(port, str) else port}
    for field in ("port", "offline", "tls_self_signed"):
        settings[field] = (
            _from_text(field, settings[field])
            if isinstance(settings.get(field), str)
            else settings.get(field, getattr(_DEFAULTS, field))
        )
    try:
        config = msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        raise Invalid(_entry(settings, _named(str(error)))) from None
    check(config)
    return config


def _imply_recognisers(settings: dict[str, Any]) -> None:
    """Add an engine for each catalog recogniser that a name refers to and no table describes."""
    names, engines = settings.get("models", MODELS), settings["engines"]
    if not isinstance(names, dict) or not isinstance(engines, dict):
        return
    implied = (answer for answer in names.values() if isinstance(answer, str) and answer in RECOGNISERS)
    settings["engines"] = {name: {"kind": RECOGNISERS[name], "model": name} for name in implied} | engines


def _from_text(field: str, text: str) -> Any:
    """Convert a value that the environment has only as text."""
    if field == "port":
        return int(text) if re.fullmatch("[0-9]{1,9}", text) else text
    return {"1": True, "true": True, "0": False, "false": False}.get(text.lower(), text)


def _entry(settings: dict[str, Any], message: str) -> str:
    """Put the name of the wrong table of several, such as `[engines.NAME]`, in place of msgspec's `engines[...]`."""
    if found := re.match(r"setting (\w+)\[\.\.\.\]", message):
        for name, value in settings[found[1]].items():
            try:
                msgspec.convert({found[1]: {name: value}}, Config)
            except msgspec.ValidationError:
                return message.replace("[...]", f".{name}", 1)
    return message


def _named(message: str) -> str:
    """Put the setting first in msgspec's `Expected ... - at `$.limits.recordings``."""
    problem, _, where = message.partition(" - at `$.")
    return f"setting {where.rstrip('`')}: {problem}" if where else f"settings: {problem}"
