"""ElevenLabs' `entity_detection` and `entity_redaction`: categories and types, and the replacements of hidden text.

A value is `all`, a category, a type, or a JSON list of these; `all` and `pii` are all kinds that something here finds.
What the caller wants hidden is hidden in every message.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.events import Final
from antiphon.core.redaction import ALL, Entity, Redaction
from antiphon.core.text import gap
from antiphon.surfaces.elevenlabs import wire

DETECTION, REDACTION, MODE = "entity_detection", "entity_redaction", "entity_redaction_mode"
REDACTED, TYPED, NUMBERED = "redacted", "entity_type", "enumerated_entity_type"
MODES = (REDACTED, TYPED, NUMBERED)
MAX_NAMES = 128

TYPES: dict[str, Entity] = {
    "account_number": Entity.ACCOUNT,
    "bank_account": Entity.BANK,
    "routing_number": Entity.BANK,
    "credit_card": Entity.CARD,
    "credit_card_expiration": Entity.CARD_EXPIRY,
    "cvv": Entity.CARD_CODE,
    "date": Entity.DATE,
    "dob": Entity.DATE_OF_BIRTH,
    "driver_license": Entity.LICENCE,
    "vehicle_id": Entity.LICENCE,
    "email_address": Entity.EMAIL,
    "healthcare_number": Entity.HEALTH_RECORD,
    "ip_address": Entity.IP,
    "location": Entity.PLACE,
    "location_city": Entity.PLACE,
    "location_state": Entity.PLACE,
    "location_address": Entity.ADDRESS,
    "location_zip": Entity.ADDRESS,
    "name": Entity.NAME,
    "person_name": Entity.NAME,
    "name_family": Entity.NAME,
    "name_given": Entity.NAME,
    "numerical_pii": Entity.NUMBER,
    "passport_number": Entity.PASSPORT,
    "password": Entity.PASSWORD,
    "phone_number": Entity.PHONE,
    "ssn": Entity.NATIONAL_ID,
    "url": Entity.URL,
}
_CATEGORIES = {
    "all": ALL,
    "pii": ALL,
    "pci": frozenset((Entity.CARD, Entity.CARD_CODE, Entity.CARD_EXPIRY, Entity.PIN, Entity.BANK)),
}
# The first name of a kind is the one that is reported.
NAMES: dict[Entity, str] = {
    **{kind: name for name, kind in reversed(TYPES.items())},
    Entity.PIN: "numerical_pii",
    Entity.CUSTOM: "custom",
}
LABELS = tuple((kind, name.upper()) for kind, name in NAMES.items())
_lists = msgspec.json.Decoder(list[str] | str)


class Detected(msgspec.Struct, frozen=True):
    """Personal data in a text, with its place there."""

    text: str
    entity_type: str
    start_char: int
    end_char: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller wants of personal data. `detects`: what is found is reported."""

    redaction: Redaction | None = None
    detects: bool = False

    @property
    def hides(self) -> bool:
        return self.redaction is not None and self.redaction.hides


def read(detection: Sequence[str], redaction: Sequence[str], mode: str | None, usual_mode: str) -> Wanted:
    """Return what is wanted; without a mode, hidden text is replaced in the `usual_mode`. Raises `CallerError`,
    `UnsupportedParameter`.
    """
    detected_kinds, hidden = _kinds(detection, DETECTION), _kinds(redaction, REDACTION)
    how = mode or usual_mode
    wire.check_choice(MODE, how, MODES)
    if not detected_kinds and not hidden:
        return Wanted()
    result = Redaction(hidden, labels=LABELS, numbered=how == NUMBERED, brackets="{}", identified=detected_kinds)
    if how == REDACTED:
        result = replace(result, one_label=REDACTED.upper())
    return Wanted(result, bool(detected_kinds))


def _kinds(values: Sequence[str], param: str) -> frozenset[Entity]:
    names = [name.strip().lower() for value in values for name in _names(value, param)]
    if len(names) > MAX_NAMES:
        raise CallerError(f"At most {MAX_NAMES} names are allowed.", param=param)
    kinds: frozenset[Entity] = frozenset()
    for name in filter(None, names):
        if name not in TYPES and name not in _CATEGORIES:
            message = f"{name[: wire.MAX_SHOWN]!r} is not supported: nothing here finds that."
            raise UnsupportedParameter(message, param=param)
        kinds |= _CATEGORIES[name] if name in _CATEGORIES else {TYPES[name]}
    return kinds


def _names(value: str, param: str) -> Sequence[str]:
    """Return the names in a value, which SDKs write as JSON, or plain."""
    if not value.lstrip().startswith(("[", '"')):
        return value.split(",")
    try:
        found = _lists.decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise CallerError("This must be a name or a JSON list of names.", param=param) from None
    return [found] if isinstance(found, str) else found


def detected(finals: Sequence[Final]) -> list[Detected]:
    """Return the personal data in the joined text of all finals (`transcripts.text_of`), with its places there."""
    entities: list[Detected] = []
    text = ""
    for final in finals:
        utterance = final.transcript.text
        addition = utterance.strip()
        if not addition:
            continue
        text += gap(text, addition) if text else ""
        shift = len(text) - (len(utterance) - len(utterance.lstrip()))
        for each in final.transcript.entities:
            begin = each.place + shift
            entities.append(Detected(each.text, NAMES[each.entity], begin, begin + len(each.text)))
        text += addition
    return entities
