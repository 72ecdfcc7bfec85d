"""Where an engine or a receiver runs and who operates it, as the configuration says. What it does not say satisfies no
requirement.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

SELF = "self"  # the processor of what the operator of this server runs
NOWHERE, NOBODY = "nowhere", "nobody"  # a region and a processor that nothing has
REGION = r"[a-z0-9]+(-[a-z0-9]+)*"
PROCESSOR = r"[a-z0-9][a-z0-9._-]*"
MAX_CHARS = 64  # of a region, and of a processor
NO_RETENTION = "none"
RETENTION = "'none', or a time such as 12h, 30d or 4w"

_TIME = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS_S = {"h": 3_600, "d": 86_400, "w": 604_800}


class Agreement(StrEnum):
    """An agreement with a processor."""

    BAA = "baa"  # a business associate agreement: 45 CFR 164.504(e)
    DPA = "dpa"  # a data processing agreement: GDPR, article 28(3)


@dataclass(frozen=True, slots=True)
class Processing:
    """Where content is processed and by whom: a `region` such as `eu-de`, a `processor` (`SELF` or a name), its
    agreements, each with its last day (UTC; `None` for no end), and for how many seconds it retains content. Empty, or
    `None` for the retention, means that nothing is said.
    """

    region: str = ""
    processor: str = ""
    agreements: Mapping[Agreement, date | None] = field(default_factory=dict)
    retention_s: int | None = None


def parse_retention(text: str) -> int | None:
    """Return the seconds; `None` for an empty text. Raises `ValueError`."""
    if text in ("", NO_RETENTION):
        return 0 if text else None
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError
    return int(match[1]) * _UNITS_S[match[2]]
