"""Amazon's options for content redaction and identification, and its types of entities."""

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.redaction import Entity, Redaction

TYPES: dict[str, Entity] = {
    "ADDRESS": Entity.ADDRESS,
    "BANK_ACCOUNT_NUMBER": Entity.BANK,
    "BANK_ROUTING": Entity.BANK,
    "CREDIT_DEBIT_CVV": Entity.CARD_CODE,
    "CREDIT_DEBIT_EXPIRY": Entity.CARD_EXPIRY,
    "CREDIT_DEBIT_NUMBER": Entity.CARD,
    "EMAIL": Entity.EMAIL,
    "LICENSE_PLATE": Entity.LICENCE,
    "NAME": Entity.NAME,
    "PASSPORT_NUMBER": Entity.PASSPORT,
    "PASSWORD": Entity.PASSWORD,
    "PHONE": Entity.PHONE,
    "PIN": Entity.PIN,
    "SSN": Entity.NATIONAL_ID,
    "VEHICLE_IDENTIFICATION_NUMBER": Entity.LICENCE,
}
EVERY = "ALL"
PII = "PII"
# Amazon has fewer types than we have kinds: if all are requested, other kinds are hidden too, as PII. A kind of several
# types has the one that was requested. If none was, a licence can be a driver's, for which Amazon has no type.
NAMES: dict[Entity, str] = {
    **dict.fromkeys(Entity, PII),
    **{entity: name for name, entity in reversed(TYPES.items())},
    Entity.PLACE: "ADDRESS",
    Entity.LICENCE: PII,
    Entity.DATE: "DATE_TIME",
    Entity.DATE_OF_BIRTH: "DATE_TIME",
}
_ALL = frozenset(Entity) - {Entity.CUSTOM}


def read(types: str, redacts: str, identifies: str) -> Redaction | None:
    """Return the redaction, `None` if none is requested. `redacts` and `identifies` are the values of the two options,
    `types` the types of entities, separated by commas. Raises `CallerError`, `UnsupportedParameter`.
    """
    if redacts and identifies:
        raise CallerError("content-redaction-type and content-identification-type exclude each other.")
    for name, value in (("content-redaction-type", redacts), ("content-identification-type", identifies)):
        if value not in ("", PII):
            raise CallerError(f"{name} must be {PII}.", param=name)
    if not redacts and not identifies:
        if types:
            message = "pii-entity-types needs content-redaction-type or content-identification-type."
            raise CallerError(message, param="pii-entity-types")
        return None
    names = [name.strip() for name in types.split(",") if name.strip()] or [EVERY]
    unknown = next((name for name in names if name != EVERY and name not in TYPES), None)
    if unknown is not None:
        message = f"pii-entity-types: {unknown[:64]} is not supported: nothing here finds that."
        raise UnsupportedParameter(message, param="pii-entity-types")
    entities = _ALL if EVERY in names else frozenset(TYPES[name] for name in names)
    if Entity.ADDRESS in entities:
        entities |= {Entity.PLACE}
    labels = NAMES | {TYPES[name]: name for name in reversed(TYPES) if name in names}
    return Redaction(
        entities if redacts else frozenset(),
        labels=tuple(labels.items()),
        identified=entities if identifies else frozenset(),
    )
