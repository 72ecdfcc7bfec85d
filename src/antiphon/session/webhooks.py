"""Answers questions about the webhooks of a caller's project, and changes them."""

import asyncio
from collections.abc import Mapping

from antiphon.core.audit import Author
from antiphon.core.errors import NotFound
from antiphon.core.identity import Webhook
from antiphon.core.ports import Clock
from antiphon.core.webhooks import (
    ManyWebhooks,
    NewWebhook,
    PostFailure,
    WebhookChange,
    WebhookDeletion,
    WebhookQuestion,
)
from antiphon.core.wire import Step
from antiphon.trust.auth import KeyRing
from antiphon.trust.control import Control


class ProjectWebhooks:
    """The webhooks of projects; `failures` are the latest ones, by a webhook's id. A change holds at its answer."""

    def __init__(self, control: Control, keys: KeyRing, clock: Clock, failures: Mapping[str, PostFailure]) -> None:
        self._control = control
        self._keys = keys
        self._clock = clock
        self._failures = failures

    async def answer(self, question: WebhookQuestion, project: str, by: Author) -> Step:
        """Answer a question about this project's webhooks. Raises `NotFound`, also for another project's;
        `CallerError` for an invalid change, `KeysUnavailable`.
        """
        if isinstance(question, ManyWebhooks):
            listed = await asyncio.to_thread(self._control.list_webhooks, project)
            return question.tell([(each, self._failures.get(each.id)) for each in listed])
        webhook = await asyncio.to_thread(self._changed, question, project, self._control.by(by))
        self._keys.reread()
        return question.tell(webhook)

    def _changed(
        self, question: NewWebhook | WebhookChange | WebhookDeletion, project: str, control: Control
    ) -> Webhook:
        now = self._clock.unix_ms()
        if isinstance(question, NewWebhook):
            return control.create_webhook(project, question.name, question.url, now, question.settings)
        if all(each.id != question.id for each in control.list_webhooks(project)):
            raise NotFound("There is no such webhook.", param="webhook_id")
        if isinstance(question, WebhookDeletion):
            return control.delete_webhook(question.id, now)
        return control.change_webhook(question.id, question.name, question.change, now)
