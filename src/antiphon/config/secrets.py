"""Secrets, which the configuration names by the variables of the environment that hold them."""

from collections.abc import Mapping

from antiphon.config.check import Invalid


def secret_in(environment: Mapping[str, str], setting: str, variable: str) -> str:
    """Return the value of the variable; empty if none is named. Raises `Invalid` if it is not set or not printable
    ASCII, which headers need: a file's last line break often comes along.
    """
    if not variable:
        return ""
    if not (secret := environment.get(variable, "")):
        raise Invalid(f"setting {setting}: {variable} is not set")
    if not all("!" <= character <= "~" for character in secret):
        raise Invalid(f"setting {setting}: {variable} has other characters than printable ASCII")
    return secret
