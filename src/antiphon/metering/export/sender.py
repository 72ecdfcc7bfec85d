"""Requests to receivers: only to their configured address, without the environment's proxies, redirects, cookies or
compressed answers; bounded in time and size.
"""

import asyncio

import aiohttp

from antiphon.metering.export.outbox import NoAnswer, NotSent
from antiphon.metering.export.receivers import Answer, Request

ANSWER_S = 30.0
CONNECT_S = 10.0
MAX_ANSWER_BYTES = 1 << 20


class Sender:
    """The connections to all receivers, for one event loop; opened at first use."""

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._session: aiohttp.ClientSession | None = None

    async def post(self, request: Request) -> Answer:
        """Return the answer to a request, which is a POST if it has a body. Raises `NotSent`, `NoAnswer`."""
        method = "GET" if request.body is None else "POST"
        try:
            async with asyncio.timeout(self._answer_s):
                async with self._open().request(
                    method, request.url, headers=request.headers, data=request.body, allow_redirects=False
                ) as response:
                    body = await _read(response)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, headers, body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise NotSent("not reached") from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise NotSent("no address") from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            raise NoAnswer("no answer") from None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
                headers={"Accept-Encoding": "identity", "User-Agent": "antiphon"},
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, cut off at a maximum length, since it is needed for error reports only."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) >= MAX_ANSWER_BYTES:
            break
    return bytes(body[:MAX_ANSWER_BYTES])
