"""What all sessions share."""

from collections.abc import Callable
from dataclasses import dataclass

from antiphon.audio.decode import Decoder
from antiphon.calls.filters import Filters, no_filters
from antiphon.core.ports import Clock
from antiphon.core.stores import Ledger
from antiphon.observe.observer import Observer
from antiphon.scheduler.steps import Steps
from antiphon.slo.shares import Shares
from antiphon.trust.fetch import Fetcher


@dataclass(frozen=True, slots=True)
class Services:
    """What all sessions share. A whole recording is decoded when it is its turn in `decoding`, and fetched where there
    is a place for its project in `fetching`. Of pictures that were fetched for language models there are as many
    mebibytes in memory as `pictures` has places. `labels` says what the ledger is to have of a project's tags;
    `filters` makes what a call's events pass.
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
