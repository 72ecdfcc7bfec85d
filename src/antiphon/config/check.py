"""What the types of the tables cannot express."""

import ipaddress

from antiphon.config.engines import OpenAI, OpenInference, Piper, Recogniser, Version
from antiphon.config.settings import Config
from antiphon.core.errors import CallerError


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
        elif answer not in config.engines and not isinstance(config.models.get(answer), Version):
            raise Invalid(f"setting models: {name!r} refers to {answer!r}, but no such model or engine is defined")
    for name, own in config.voices.items():
        if not isinstance(config.engines.get(own), Piper):
            raise Invalid(f"setting voices: {name!r} refers to {own!r}, but no speech engine has that name")
    for name, table in config.engines.items():
        if isinstance(table, OpenAI | OpenInference) and not table.url.startswith(("http://", "https://", "grpc://")):
            raise Invalid(f"setting engines.{name}.url: expected http://HOST:PORT")
    if bool(config.tls_cert) != bool(config.tls_key):
        raise Invalid("settings tls_cert and tls_key: set both or neither")
    if config.tls_cert and config.tls_self_signed:
        raise Invalid("setting tls_self_signed: tls_cert and tls_key are set, too")
    if bool(config.provenance.chain) != bool(config.provenance.key):
        raise Invalid("setting provenance: set both chain and key, or neither")
    urls = {"audit.webhook": config.audit.webhook}
    urls |= {f"audit.witnesses[{at}].url": each.url for at, each in enumerate(config.audit.witnesses)}
    for setting, url in urls.items():
        if url and not url.startswith(("http://", "https://")):
            raise Invalid(f"setting {setting}: expected http://HOST:PORT or https://HOST")
    if any(char.isspace() or char == "+" for char in config.audit.origin):
        raise Invalid("setting audit.origin: expected a name without blanks and plus signs, as example.com/audit")
    networks = {"fetch.allow": config.fetch.allow, "inspection.open_to": config.inspection.open_to}
    for setting, network in ((setting, network) for setting, listed in networks.items() for network in listed):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise Invalid(f"setting {setting}: {network!r} is not a network such as 10.0.0.0/8") from None
