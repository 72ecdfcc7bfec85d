"""Signatures over a request, in place of a sent secret: whether one was made with the key's own secret, and is new.

The surface composes the signed text from the request, and checks its age. In Signature Version 4, the third line of the
signed text is its scope.
"""

import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import islice

from antiphon.core.errors import CapacityError, InvalidSignature
from antiphon.core.signing import ALGORITHM, SCOPE_PARTS, TERMINATION, signing_key
from antiphon.core.units import NS_PER_S
from antiphon.core.wire import Signed

REMEMBERED_NS = 600 * NS_PER_S  # no surface accepts older signatures
SAME_SECOND_NS = 3 * NS_PER_S
MAX_REMEMBERED = 20_000  # of one key
FORGOTTEN_AT_ONCE = 2  # of the oldest, at each new one, so that their number decreases to what is needed


def holds(credential: Signed, secret: str) -> bool:
    """Return whether a signature was made with that secret; false if its scheme is unknown."""
    sign = _SCHEMES.get(credential.scheme)
    expected = sign(secret, credential.signed) if sign else None
    return expected is not None and hmac.compare_digest(expected, credential.signature)


class Replays:
    """The signatures that have opened something, for as long as they could do it again. Pure: time is an argument.

    A signature's time is in whole seconds: two calls of a client in one second with the same options have the same one.
    So it may come again within `SAME_SECOND_NS` of the first time, and not later.
    """

    def __init__(self) -> None:
        # By the key's id, the last one to sign at the end: when each signature came, in the order in which they did.
        self._keys: OrderedDict[str, dict[bytes, int]] = OrderedDict()

    def admit(self, key_id: str, signature: bytes, now_ns: int) -> None:
        """Remember a signature. Raises `InvalidSignature` for a replay, `CapacityError` if a key signs more than can be
        remembered.
        """
        self._forget_idle_key(now_ns)
        came = self._keys.setdefault(key_id, {})
        self._keys.move_to_end(key_id)
        for old in [each for each, at_ns in islice(came.items(), FORGOTTEN_AT_ONCE) if now_ns - at_ns > REMEMBERED_NS]:
            del came[old]
        first_ns = came.get(signature)
        if first_ns is None:
            if len(came) >= MAX_REMEMBERED:
                raise CapacityError("The API key has signed too many requests of late.", retry_after_s=60)
            came[signature] = now_ns
        elif now_ns - first_ns > SAME_SECOND_NS:
            raise InvalidSignature("The request was sent before: each signature opens one call.")

    def _forget_idle_key(self, now_ns: int) -> None:
        """Forget the key that has not signed for the longest time, if its signatures need not be known any more."""
        if self._keys:
            key_id, came = next(iter(self._keys.items()))
            if now_ns - next(reversed(came.values())) > REMEMBERED_NS:
                del self._keys[key_id]


def _version_4(secret: str, signed: bytes) -> bytes | None:
    lines = signed.split(b"\n")
    scope = lines[2].split(b"/") if len(lines) > 2 else []
    if len(scope) != SCOPE_PARTS or scope[-1] != TERMINATION:
        return None
    return hmac.digest(signing_key(secret, scope), signed, "sha256")


_SCHEMES: Mapping[str, Callable[[str, bytes], bytes | None]] = {ALGORITHM: _version_4}
