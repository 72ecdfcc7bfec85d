"""Questions about the webhooks of the caller's project, and their changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from antiphon.core.identity import Webhook, WebhookSettings
from antiphon.core.wire import Step


@dataclass(frozen=True, slots=True)
class PostFailure:
    """The latest failure of a webhook: the status of the answer, 0 if there was none, and its time."""

    status: int
    at_unix_ms: int


@dataclass(frozen=True, slots=True)
class ManyWebhooks:
    """A question about all webhooks, oldest first, and their latest failures."""

    tell: Callable[[Sequence[tuple[Webhook, PostFailure | None]]], Step]


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A new webhook. `tell` gets it with its secret."""

    name: str
    url: str
    settings: WebhookSettings
    tell: Callable[[Webhook], Step]


@dataclass(frozen=True, slots=True)
class WebhookChange:
    """A new name and new settings for a webhook, the latter made of the present ones."""

    id: str
    name: str
    change: Callable[[WebhookSettings], WebhookSettings]
    tell: Callable[[Webhook], Step]


@dataclass(frozen=True, slots=True)
class WebhookDeletion:
    """The deletion of a webhook with its secret."""

    id: str
    tell: Callable[[Webhook], Step]


WebhookQuestion = ManyWebhooks | NewWebhook | WebhookChange | WebhookDeletion
