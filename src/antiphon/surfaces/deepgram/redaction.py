"""Deepgram's `redact`: its groups and kinds of entities, and the replacements of hidden text."""

from collections.abc import Sequence

from antiphon.core.errors import UnsupportedParameter
from antiphon.core.redaction import Entity, Redaction

KINDS: dict[str, Entity] = {
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
    "location_address": Entity.ADDRESS,
    "location_address_street": Entity.ADDRESS,
    "location_city": Entity.PLACE,
    "location_state": Entity.PLACE,
    "location_zip": Entity.ADDRESS,
    "name": Entity.NAME,
    "name_family": Entity.NAME,
    "name_given": Entity.NAME,
    "name_medical_professional": Entity.NAME,
    "numerical_pii": Entity.NUMBER,
    "passport_number": Entity.PASSPORT,
    "password": Entity.PASSWORD,
    "phone_number": Entity.PHONE,
    "ssn": Entity.NATIONAL_ID,
    "url": Entity.URL,
}
_CARDS = frozenset((Entity.CARD, Entity.CARD_CODE, Entity.CARD_EXPIRY, Entity.PIN))
_NUMBERS = _CARDS | {
    *(Entity.ACCOUNT, Entity.BANK, Entity.DATE, Entity.DATE_OF_BIRTH, Entity.LICENCE, Entity.HEALTH_RECORD, Entity.IP),
    *(Entity.ADDRESS, Entity.NUMBER, Entity.PASSPORT, Entity.PHONE, Entity.NATIONAL_ID),
}
_PERSONAL = _NUMBERS | {Entity.NAME, Entity.EMAIL, Entity.PLACE, Entity.URL, Entity.PASSWORD}
GROUPS: dict[str, frozenset[Entity]] = {
    "pci": _CARDS,
    "numbers": _NUMBERS,
    "true": _NUMBERS,
    "aggressive_numbers": _NUMBERS,
    "pii": _PERSONAL,
}
NUMBER_GROUPS = frozenset(("numbers", "true", "aggressive_numbers"))
LABELS = (
    (Entity.ACCOUNT, "ACCOUNT_NUMBER"),
    (Entity.BANK, "BANK_ACCOUNT"),
    (Entity.CARD, "CREDIT_CARD"),
    (Entity.CARD_EXPIRY, "CREDIT_CARD_EXPIRATION"),
    (Entity.CARD_CODE, "CVV"),
    (Entity.PIN, "NUMERICAL_PII"),
    (Entity.DATE_OF_BIRTH, "DOB"),
    (Entity.LICENCE, "DRIVER_LICENSE"),
    (Entity.EMAIL, "EMAIL_ADDRESS"),
    (Entity.HEALTH_RECORD, "HEALTHCARE_NUMBER"),
    (Entity.IP, "IP_ADDRESS"),
    (Entity.PLACE, "LOCATION"),
    (Entity.ADDRESS, "LOCATION_ADDRESS"),
    (Entity.NUMBER, "NUMERICAL_PII"),
    (Entity.PASSPORT, "PASSPORT_NUMBER"),
    (Entity.PHONE, "PHONE_NUMBER"),
    (Entity.NATIONAL_ID, "SSN"),
)


def read(values: Sequence[str], *, numbers_only: bool = False) -> Redaction | None:
    """Return the redaction, `None` if none is requested. Raises `UnsupportedParameter` for a kind that is not
    supported.
    """
    entities: frozenset[Entity] = frozenset()
    for value in (part.strip().lower() for text in values for part in text.split(",")):
        if value in ("", "false"):
            continue
        if numbers_only and value not in NUMBER_GROUPS:
            known = ", ".join(sorted(NUMBER_GROUPS))
            raise UnsupportedParameter(f"`redact` must be one of {known}.", param="redact")
        if value not in GROUPS and value not in KINDS:
            raise UnsupportedParameter(
                f"`redact={value[:64]}` is not supported: nothing here finds that.", param="redact"
            )
        entities |= GROUPS[value] if value in GROUPS else {KINDS[value]}
    return Redaction(entities, labels=LABELS, numbered=True) if entities else None
