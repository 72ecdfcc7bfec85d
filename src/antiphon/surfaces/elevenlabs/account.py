"""`GET /v1/user` and `/v1/user/subscription`: the characters that a project has used this month.

Characters are the ledger's, of the calendar month in UTC. There are no quotas here and no prices in these answers: the
limit is the largest number that every client can hold, or the usage, if that is more.
"""

from datetime import UTC, datetime
from functools import partial

from msgspec import Struct

from antiphon.core.endpoints import ProjectSpending, Spending
from antiphon.core.usage import Dimension
from antiphon.core.wire import Opening, Response
from antiphon.surfaces.elevenlabs import wire
from antiphon.surfaces.elevenlabs.parameters import read_query
from antiphon.surfaces.elevenlabs.voices import NoQuery

NO_LIMIT = 2**31 - 1


class Price(Struct, frozen=True):
    amount: str = "0"
    currency: str = "usd"


class UserSubscription(Struct, frozen=True):
    """A subscription inside a user. What could be bought or cloned is always zero or false."""

    character_count: int
    character_limit: int
    next_character_count_reset_unix: int
    tier: str = "self_hosted"
    status: str = "active"
    max_character_limit_extension: int | None = None
    max_credit_limit_extension: int = 0
    can_extend_character_limit: bool = False
    allowed_to_extend_character_limit: bool = False
    voice_slots_used: int = 0
    professional_voice_slots_used: int = 0
    professional_voice_slots_used_in_workspace: int = 0
    voice_limit: int = 0
    max_voice_add_edits: int | None = None
    voice_add_edit_counter: int = 0
    professional_voice_limit: int = 0
    can_extend_voice_limit: bool = False
    can_use_instant_voice_cloning: bool = False
    can_use_professional_voice_cloning: bool = False
    currency: str | None = None
    current_overage: Price = Price()
    billing_period: str | None = None
    character_refresh_period: str = "monthly_period"


class Subscription(UserSubscription, frozen=True):
    """A subscription on its own, which has invoices, too: none."""

    next_invoice: None = None
    open_invoices: tuple[str, ...] = ()
    has_open_invoices: bool = False


class User(Struct, frozen=True):
    """A user, which is a project."""

    user_id: str
    workspace_id: str
    subscription: UserSubscription
    is_new_user: bool = False
    can_use_delayed_payment_methods: bool = False
    is_onboarding_completed: bool = True
    is_onboarding_checklist_completed: bool = True
    is_api_key_hashed: bool = True
    created_at: int = 0
    seat_type: str = "workspace_member"


class Account(wire.Endpoint):
    """The endpoint: the subscription on its own, or with `user` the user that has it."""

    def __init__(self, user: bool) -> None:
        self._user = user

    def ask(self, opening: Opening, body: bytes) -> Spending:
        return Spending(Dimension.TTS_CHARACTERS, self.since_unix_ms(opening), partial(self.answer, opening))

    def since_unix_ms(self, opening: Opening) -> int:
        """Return the beginning of the month in Unix milliseconds. Raises `CallerError` for an invalid query."""
        read_query(opening, NoQuery)
        return int(_month(opening).timestamp()) * 1000

    def answer(self, opening: Opening, usage: ProjectSpending) -> Response:
        month = _month(opening)
        following = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
        spending = usage.amount, max(NO_LIMIT, usage.amount), int(following.timestamp())
        if self._user:
            return wire.json_response(opening, 200, User(usage.project, usage.project, UserSubscription(*spending)))
        return wire.json_response(opening, 200, Subscription(*spending))


def _month(opening: Opening) -> datetime:
    """Return the beginning of the month of this call."""
    now = datetime.fromtimestamp(opening.received_unix_ms / 1000, UTC)
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
