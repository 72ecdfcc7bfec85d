"""Agreements with those who run engines and receivers, and named requirements of projects."""

import datetime

import msgspec

from antiphon.config.tables import Table
from antiphon.core.place import Agreement
from antiphon.trust.profiles import PROFILES, Profiles


class EndingAgreement(Table, frozen=True, kw_only=True):
    """An agreement and its last day (UTC)."""

    name: Agreement
    until: datetime.date


Agreements = tuple[Agreement | EndingAgreement, ...]


class ProfileNames(Table, frozen=True, kw_only=True):
    """Named sets of requirements (`strict`, `hipaa`, `eu`): what a `new` project begins with, and the least that the
    policies of `projects` have.
    """

    new: str = ""
    projects: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def found(self) -> Profiles:
        new = PROFILES[self.new] if self.new else None
        return Profiles(new, {name: PROFILES[own] for name, own in self.projects.items()})
