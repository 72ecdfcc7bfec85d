"""AssemblyAI's `redact_pii`: its policies, and the replacements of hidden text."""

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.redaction import ALL, Entity, Redaction, Substitution
from antiphon.surfaces.assemblyai.values import Values, asks, flag, text, texts

MAX_SHOWN = 64
POLICIES: dict[str, Entity] = {
    "account_number": Entity.ACCOUNT,
    "banking_information": Entity.BANK,
    "credit_card_cvv": Entity.CARD_CODE,
    "credit_card_expiration": Entity.CARD_EXPIRY,
    "credit_card_number": Entity.CARD,
    "date": Entity.DATE,
    "date_of_birth": Entity.DATE_OF_BIRTH,
    "drivers_license": Entity.LICENCE,
    "email_address": Entity.EMAIL,
    "healthcare_number": Entity.HEALTH_RECORD,
    "ip_address": Entity.IP,
    "location": Entity.PLACE,
    "number_sequence": Entity.NUMBER,
    "passport_number": Entity.PASSPORT,
    "password": Entity.PASSWORD,
    "person_name": Entity.NAME,
    "phone_number": Entity.PHONE,
    "url": Entity.URL,
    "us_social_security_number": Entity.NATIONAL_ID,
    "vehicle_id": Entity.LICENCE,
}
LABELS = (
    *((entity, policy.upper()) for policy, entity in POLICIES.items() if policy != "vehicle_id"),
    (Entity.ADDRESS, "LOCATION"),
    (Entity.PIN, "NUMBER_SEQUENCE"),
)
# Further kinds that a policy hides, for which AssemblyAI has no policy.
_WITH = {Entity.PLACE: Entity.ADDRESS, Entity.NUMBER: Entity.PIN}


def read(values: Values) -> Redaction | None:
    """Return the redaction, `None` if none is requested; without policies, all kinds are hidden. Raises `CallerError`,
    or `UnsupportedParameter` for a policy that is not supported.
    """
    if not flag(values, "redact_pii"):
        if asks(values.get("redact_pii_policies")):
            raise CallerError("`redact_pii_policies` needs `redact_pii`.", param="redact_pii_policies")
        return None
    entities: set[Entity] = set()
    for policy in texts(values, "redact_pii_policies"):
        entity = POLICIES.get(policy)
        if entity is None:
            shown = policy[:MAX_SHOWN]
            said = f"`redact_pii_policies`: {shown!r} is not supported: nothing here finds that."
            raise UnsupportedParameter(said, param="redact_pii_policies")
        entities.add(entity)
        if entity in _WITH:
            entities.add(_WITH[entity])
    substitution = text(values, "redact_pii_sub") or Substitution.HASH
    if substitution not in list(Substitution):
        raise CallerError("`redact_pii_sub` must be hash or entity_name.", param="redact_pii_sub")
    return Redaction(frozenset(entities) or ALL, Substitution(substitution), LABELS)
