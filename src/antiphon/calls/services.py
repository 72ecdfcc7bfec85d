"""The services that all sessions share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from antiphon.audio.decode import Decoder
from antiphon.calls.filters import Filters, no_filters
from antiphon.core.call import Call
from antiphon.core.ports import Clock
from antiphon.core.stores import Ledger
from antiphon.metering.allowances import Allowances
from antiphon.observe.observer import Observer
from antiphon.scheduler.steps import Steps
from antiphon.slo.shares import Shares
from antiphon.trust.fetch import Fetcher


@dataclass(frozen=True, slots=True)
class Services:
    """The services that all sessions share. A whole recording is decoded in its turn in `decoding`, and fetched if its
    project has a place in `fetching`. `pictures` has one place per mebibyte of fetched pictures in memory. `labels`
    returns the ledger's labels of a project's tags; `filters` makes a call's event filters, and
    `filter_failed` is told which error in one ended a call; `allowances` says what projects may still use.
    """

    clock: Clock
    ledger: Ledger
    decoder: Decoder
    decoding: Steps
    fetcher: Fetcher
    fetching: Shares
    pictures: Shares
    observer: Observer
    labels: Callable[[str, tuple[str, ...]], tuple[str, ...]]
    filters: Filters = no_filters
    filter_failed: Callable[[Call[Any], str], None] = lambda call, error: None
    allowances: Allowances | None = None
