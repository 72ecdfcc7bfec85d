"""What accepts connections: a port with its protocol, or whatever else callers come by."""

from typing import Protocol


class Listener(Protocol):
    """All that a server does with one. Several stand beside each other, and are stopped together."""

    async def start(self) -> None:
        """Accepts connections from now on."""

    def stop_accepting(self) -> None:
        """No new ones; those that are open are served on, and their bounds are kept."""

    async def finish(self, grace_s: float) -> None:
        """Closes what is still open, once the sessions have ended. What has not left by `grace_s` is given up."""
