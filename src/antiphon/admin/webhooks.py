"""The routes of the management API for projects' webhooks."""

from typing import Any

from fastapi import Depends, FastAPI

from antiphon.admin import messages
from antiphon.admin.managing import Manage, Manager
from antiphon.core.ports import Clock
from antiphon.trust.control import Control


def add_webhooks(app: FastAPI, control: Control, clock: Clock, administrator: Any, manager: Manage) -> None:
    """Add the routes. `administrator` admits who may read, `manager` returns the control of who may change."""
    managed = Depends(manager)

    @app.get("/webhooks", dependencies=[Depends(administrator)], operation_id="list_webhooks")
    def list_webhooks(project: str | None = None) -> messages.WebhookList:
        """List all webhooks, or one project's."""
        listed = control.list_webhooks(project)
        return messages.WebhookList(data=[messages.WebhookAnswer.model_validate(each) for each in listed])

    @app.post("/webhooks", operation_id="create_webhook", status_code=201)
    def create_webhook(new: messages.NewWebhook, manages: Manager = managed) -> messages.NewWebhookAnswer:
        """Create a webhook. The answer is the only place where its secret can be read."""
        made = manages.control.create_webhook(new.project, new.name, new.url, clock.unix_ms())
        return messages.NewWebhookAnswer.model_validate(made)

    @app.delete("/webhooks/{webhook_id}", operation_id="delete_webhook")
    def delete_webhook(webhook_id: str, manages: Manager = managed) -> messages.WebhookAnswer:
        """Delete a webhook. Within a second nothing more is sent there."""
        return messages.WebhookAnswer.model_validate(manages.control.delete_webhook(webhook_id, clock.unix_ms()))
