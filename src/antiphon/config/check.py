"""What the types of the tables cannot express."""

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from antiphon.config.engines import OpenAI, OpenInference, Piper, Recogniser, Remote, Version, Whisper
from antiphon.config.exports import Export
from antiphon.config.settings import Config
from antiphon.config.tables import Oidc
from antiphon.core.errors import CallerError
from antiphon.core.place import MAX_CHARS, NOBODY, NOWHERE, PROCESSOR, REGION, RETENTION, SELF, parse_retention
from antiphon.trust.oidc import is_safe
from antiphon.trust.profiles import PROFILES


class Invalid(CallerError):
    """A setting is wrong. The message names it."""

    code = "invalid_setting"


_LEVELS = ("debug", "info", "warning", "error")


def check(config: Config) -> None:
    """Check what the types cannot express."""
    if config.log_level not in _LEVELS:
        raise Invalid(f"setting log_level: expected one of {', '.join(_LEVELS)}")
    if config.api_key is not None and (len(config.api_key) < 16 or not config.api_key.isascii()):
        raise Invalid("setting api_key (ANTIPHON_API_KEY): expected at least 16 ASCII characters")
    for name, answer in config.models.items():
        if isinstance(answer, Version):
            for engine in answer.engines:
                if engine not in config.engines:
                    raise Invalid(f"setting models.{name}.engines: [engines.{engine}] not found")
            if not answer.engines:
                raise Invalid(f"setting models.{name}.engines: expected one or more")
            if answer.hedge_after_ms and len(answer.engines) < 2:
                raise Invalid(f"setting models.{name}.hedge_after_ms: a second engine is needed")
            kinds = {isinstance(config.engines[engine], Recogniser) for engine in answer.engines}
            if kinds != {False} and len(answer.engines) > 1:
                raise Invalid(f"setting models.{name}.engines: a speech recogniser must be the only engine")
            _check_lifetime(name, answer, config)
        elif answer not in config.engines and not isinstance(config.models.get(answer), Version):
            raise Invalid(f"setting models: {name!r} refers to {answer!r}, but no such model or engine is defined")
    for name, own in config.voices.items():
        if not isinstance(config.engines.get(own), Piper):
            raise Invalid(f"setting voices: {name!r} refers to {own!r}, but no speech engine has that name")
    for name, table in config.engines.items():
        if isinstance(table, OpenAI | OpenInference):
            calls = isinstance(table, OpenInference) and table.grpc
            schemes = ("http", "https", *(("grpc", "grpcs") if calls else ()))
            if not _is_origin(table.url, schemes):
                raise Invalid(
                    f"setting engines.{name}.url: expected {' or '.join(f'{s}://HOST:PORT' for s in schemes)}"
                )
    if config.budgets.secret_env and not config.budgets.webhook:
        raise Invalid("setting budgets.secret_env: it signs for a webhook, which is not set")
    if not config.oidc.issuer and config.oidc != Oidc():
        raise Invalid("setting oidc.issuer: without it, nobody signs in by this table")
    if config.oidc.issuer and not is_safe(config.oidc.issuer):
        raise Invalid("setting oidc.issuer: expected https://HOST, the provider's issuer")
    if config.oidc.issuer and not (config.oidc.audience and config.oidc.roles):
        raise Invalid("setting oidc: set audience and roles, too")
    if config.oidc.url and not (is_safe(f"{config.oidc.url}/") and re.fullmatch(r"https?://[^/?#@]+", config.oidc.url)):
        raise Invalid("setting oidc.url: expected https://HOST, where browsers reach this server")
    _check_paths(config)
    _check_places(config)
    _check_profiles(config)
    if bool(config.tls_cert) != bool(config.tls_key):
        raise Invalid("settings tls_cert and tls_key: set both or neither")
    if config.tls_cert and config.tls_self_signed:
        raise Invalid("setting tls_self_signed: tls_cert and tls_key are set, too")
    if bool(config.provenance.chain) != bool(config.provenance.key):
        raise Invalid("setting provenance: set both chain and key, or neither")
    urls = {"audit.webhook": config.audit.webhook}
    urls |= {"audit.bucket.url": config.audit.bucket.url} if config.audit.bucket else {}
    urls |= {f"audit.witnesses[{at}].url": each.url for at, each in enumerate(config.audit.witnesses)}
    for setting, url in urls.items():
        if url and not _is_origin(url):
            raise Invalid(f"setting {setting}: expected http://HOST:PORT or https://HOST")
    if any(char.isspace() or char == "+" for char in config.audit.origin):
        raise Invalid("setting audit.origin: expected a name without blanks and plus signs, as example.com/audit")
    for each in config.origins:
        if each != "*" and not re.fullmatch(r"https?://[^/\s]+", each):
            raise Invalid(f"setting origins: {each!r} is neither '*' nor an origin such as https://app.example.com")
    networks = {"fetch.allow": config.fetch.allow, "inspection.open_to": config.inspection.open_to}
    networks |= {"proxies": config.proxies}
    for setting, network in ((setting, network) for setting, listed in networks.items() for network in listed):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise Invalid(f"setting {setting}: {network!r} is not a network such as 10.0.0.0/8") from None


def _check_lifetime(name: str, version: Version, config: Config) -> None:
    """Check when a model is deprecated and gone, and what follows it."""
    if version.deprecated and version.sunset and version.sunset < version.deprecated:
        raise Invalid(f"setting models.{name}.sunset: it is before the model is deprecated, {version.deprecated}")
    follows = version.successor
    if follows and config.aliases.get(follows, follows) not in config.versions.keys() - {name}:
        raise Invalid(f"setting models.{name}.successor: {follows!r} is no other model of this configuration")
    if follows:
        _check_successor(name, version, config.versions[config.aliases.get(follows, follows)], config)


def _check_successor(name: str, version: Version, successor: Version, config: Config) -> None:
    """Check that whoever is told to use the successor can: it does the same, and is not gone by then."""
    kinds = _kinds(version, config), _kinds(successor, config)
    if all(kinds) and kinds[0] != kinds[1]:
        raise Invalid(f"setting models.{name}.successor: {version.successor!r} is of another kind")
    if successor.sunset and (version.sunset is None or successor.sunset <= version.sunset):
        raise Invalid(f"setting models.{name}.successor: {version.successor!r} is gone on {successor.sunset}, no later")


def _kinds(version: Version, config: Config) -> set[type]:
    """Return what a version's engines do, each a class; empty if that is unknown, as of servers elsewhere."""
    engines = [config.engines[engine] for engine in version.engines if engine in config.engines]
    if any(isinstance(engine, Remote) for engine in engines):
        return set()
    return {Whisper if isinstance(engine, Recogniser) else type(engine) for engine in engines}


def _is_origin(url: str, schemes: Sequence[str] = ("http", "https")) -> bool:
    """Return whether it is an address with a scheme, a host, and a port if any, maybe with a path."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _check_paths(config: Config) -> None:
    """Check that the home directory is known of each path that begins with one."""
    paths = {"data_dir": config.data_dir, "tls_cert": config.tls_cert, "tls_key": config.tls_key}
    paths |= {"encryption.key_file": config.encryption.key_file, "audit.file": config.audit.file}
    paths |= {"provenance.chain": config.provenance.chain, "provenance.key": config.provenance.key}
    paths |= {"redaction.model": config.redaction.model}
    paths |= {f"pricing.books[{at}]": each for at, each in enumerate(config.pricing.books)}
    local = {name: e for name, e in config.engines.items() if not isinstance(e, Remote)}
    paths |= {f"engines.{name}.model": each.model for name, each in local.items()}
    for setting, path in paths.items():
        try:
            Path(path).expanduser()
        except RuntimeError:
            raise Invalid(f"setting {setting}: {path!r} names no home directory") from None


def _check_places(config: Config) -> None:
    """Check regions, processors and retentions."""
    tables = {f"engines.{name}.": e for name, e in config.engines.items() if isinstance(e, Remote)}
    placed: dict[str, Remote | Export] = {**tables, **{f"export.{name}.": e for name, e in config.export.items()}}
    regions = {"region": config.region} | {f"{setting}region": each.region for setting, each in placed.items()}
    processors = {f"{setting}processor": each.processor for setting, each in placed.items()}
    for names, pattern, nothing, example in (
        (regions, REGION, NOWHERE, "eu-de"),
        (processors, PROCESSOR, NOBODY, f"{SELF!r} or acme-gpu"),
    ):
        for setting, name in names.items():
            if name and (name == nothing or len(name) > MAX_CHARS or not re.fullmatch(pattern, name)):
                raise Invalid(f"setting {setting}: {name!r} is not a name such as {example}")
    for setting, each in placed.items():
        try:
            parse_retention(each.retention)
        except ValueError:
            raise Invalid(f"setting {setting}retention: expected {RETENTION}") from None


def _check_profiles(config: Config) -> None:
    """Check that the configured profiles are known, and that the audit log is kept for as long as they need."""
    named = {"profiles.new": config.profiles.new}
    named |= {f"profiles.projects.{project}": name for project, name in config.profiles.projects.items()}
    for setting, name in named.items():
        if name and name not in PROFILES:
            raise Invalid(f"setting {setting}: expected one of {', '.join(PROFILES)}")
        if name and config.audit.keep_days < PROFILES[name].audit_days:
            raise Invalid(f"setting audit.keep_days: the profile '{name}' needs {PROFILES[name].audit_days} or more")
