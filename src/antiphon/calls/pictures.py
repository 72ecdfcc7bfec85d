"""The pictures of a call that are given by URL: fetched before the engine is called, and sent to it as data.

No engine gets a caller's URL, because it would fetch any address, from inside the operator's network. Each call holds
as many places in `Services.pictures` as its pictures have mebibytes, until it ends. A repeated picture is fetched once,
and counted each time, because the engine receives it each time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from antiphon.calls.services import Services
from antiphon.core import pictures
from antiphon.core.capabilities import images
from antiphon.core.errors import CallerError, CapacityError, TooLarge
from antiphon.core.identity import Principal
from antiphon.core.specs import GenerateSpec, Image, Message
from antiphon.slo.shares import Place, Shares

MOST_MB = 16  # of one call, as `data:` URLs, which are a third larger than their content
MOST_BYTES = (MOST_MB << 20) * 3 // 4
_MB = 1 << 20


def remote_images(spec: GenerateSpec) -> Sequence[Image]:
    """Return the pictures that have to be fetched."""
    if isinstance(spec.prompt, str):
        return ()
    return [image for image in images(spec.prompt) if not pictures.is_data(image.url)]


class Pictures:
    """The fetched pictures of one call."""

    def __init__(self, services: Services, principal: Principal) -> None:
        self._services = services
        self._principal = principal
        self._held: Place | None = None

    async def fetch(self, spec: GenerateSpec, remote: Sequence[Image]) -> GenerateSpec:
        """Return the spec with those pictures as data. Raises `CallerError`, `TooLarge`, `CapacityError`."""
        self._held = self._hold(self._services.pictures, MOST_MB)
        place = self._hold(self._services.fetching, 1)
        found: dict[str, str] = {}
        left_bytes = MOST_BYTES
        try:
            for image in remote:
                if image.url not in found:
                    found[image.url] = await self._fetch_one(image, left_bytes)
                elif len(found[image.url]) * 3 // 4 > left_bytes:
                    raise _too_large(image)
                left_bytes -= len(found[image.url]) * 3 // 4
        finally:
            self._services.fetching.let_go(place)
        self.let_go()
        size = sum(len(found[image.url]) for image in remote)
        self._held = self._services.pictures.hold(self._principal, -(-size // _MB), self._services.clock.now_ns())
        assert not isinstance(spec.prompt, str)
        return replace(spec, prompt=tuple([_with(message, found) for message in spec.prompt]))

    def let_go(self) -> None:
        """Release the places of the pictures."""
        if self._held is not None:
            self._services.pictures.let_go(self._held)
            self._held = None

    def _hold(self, shares: Shares, places: int) -> Place:
        now_ns = self._services.clock.now_ns()
        if not shares.fits(self._principal, places):
            wait_s = shares.retry_after_s(self._principal, now_ns)
            raise CapacityError("Too many pictures are being fetched.", retry_after_s=wait_s)
        return shares.hold(self._principal, places, now_ns)

    async def _fetch_one(self, image: Image, left_bytes: int) -> str:
        if left_bytes <= 0:
            raise _too_large(image)
        try:
            return pictures.from_bytes(await self._services.fetcher.fetch(image.url, left_bytes))
        except ValueError:
            raise CallerError(f"The URL leads to no {pictures.KINDS} picture.", param=image.param or None) from None
        except CallerError as error:  # the fetcher does not know where the caller put the URL
            raise type(error)(error.message, param=image.param or None) from None


def _too_large(image: Image) -> TooLarge:
    return TooLarge(f"The pictures of a call have at most {MOST_BYTES} bytes together.", param=image.param or None)


def _with(message: Message, found: Mapping[str, str]) -> Message:
    if not message.parts:
        return message
    parts = (
        replace(part, url=found[part.url]) if isinstance(part, Image) and part.url in found else part
        for part in message.parts
    )
    return replace(message, parts=tuple(parts))
