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
    "NAME": Entity.NAME,
    "PHONE": Entity.PHONE,
    "PIN": Entity.PIN,
    "SSN": Entity.NATIONAL_ID,
}
EVERY = "ALL"
PII = "PII"
# Amazon has fewer types than we have kinds: if all are requested, other kinds are hidden too, as PII.
LABELS = (
    *((entity, name) for name, entity in TYPES.items() if name != "BANK_ROUTING"),
    (Entity.PLACE, "ADDRESS"),
    *((entity, PII) for entity in Entity if entity not in TYPES.values() and entity is not Entity.PLACE),
)
NAMES = dict(LABELS)
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
            said = "pii-entity-types needs content-redaction-type or content-identification-type."
            raise CallerError(said, param="pii-entity-types")
        return None
    names = [name.strip() for name in types.split(",") if name.strip()] or [EVERY]
    unknown = next((name for name in names if name != EVERY and name not in TYPES), None)
    if unknown is not None:
        raise UnsupportedParameter(f"pii-entity-types: {unknown[:64]} is not supported.", param="pii-entity-types")
    entities = _ALL if EVERY in names else frozenset(TYPES[name] for name in names)
    if Entity.ADDRESS in entities:
        entities |= {Entity.PLACE}
    return Redaction(
        entities if redacts else frozenset(), labels=LABELS, identified=entities if identifies else frozenset()
    )
