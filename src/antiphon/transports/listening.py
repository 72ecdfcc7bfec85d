"""Listeners: a port with its protocol, or any other source of calls."""

from typing import Protocol


class Listener(Protocol):
    """A listener, as a server uses it. Several run side by side, and are stopped together."""

    async def start(self) -> None:
        """Begin to accept connections."""

    def stop_accepting(self) -> None:
        """Accept no new connections; open ones are served on, within their bounds."""

    async def finish(self, grace_s: float) -> None:
        """Close what is still open, once the sessions have ended. What remains after `grace_s` is aborted."""
