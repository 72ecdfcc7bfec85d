"""AssemblyAI's `redact_pii`: its policies, the replacements of hidden text, and copies of recordings without it."""

from antiphon.core.audio import Codec
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.redaction import ALL, Cover, Entity, RedactedAudio, Redaction, Substitution
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
QUALITIES = {"mp3": Codec.MP3, "wav": Codec.LINEAR16}
_AUDIO, _QUALITY, _OPTIONS = "redact_pii_audio", "redact_pii_audio_quality", "redact_pii_audio_options"
_METHOD, _NO_SPEECH = "override_audio_redaction_method", "return_redacted_no_speech_audio"
# Further kinds that a policy hides, for which AssemblyAI has no policy.
_WITH = {Entity.PLACE: Entity.ADDRESS, Entity.NUMBER: Entity.PIN}


def read(values: Values) -> Redaction | None:
    """Return the redaction, `None` if none is requested; without policies, all kinds are hidden. Raises `CallerError`,
    or `UnsupportedParameter` for a policy that is not supported.
    """
    if not flag(values, "redact_pii"):
        for name in ("redact_pii_policies", "redact_pii_sub"):
            if asks(values.get(name)):
                raise CallerError(f"`{name}` needs `redact_pii`.", param=name)
        return None
    entities: set[Entity] = set()
    for policy in texts(values, "redact_pii_policies"):
        entity = POLICIES.get(policy)
        if entity is None:
            shown = policy[:MAX_SHOWN]
            message = f"`redact_pii_policies`: {shown!r} is not supported: nothing here finds that."
            raise UnsupportedParameter(message, param="redact_pii_policies")
        entities.add(entity)
        if entity in _WITH:
            entities.add(_WITH[entity])
    substitution = text(values, "redact_pii_sub") or Substitution.HASH
    if substitution not in list(Substitution):
        raise CallerError("`redact_pii_sub` must be hash or entity_name.", param="redact_pii_sub")
    return Redaction(frozenset(entities) or ALL, Substitution(substitution), LABELS)


def read_audio(values: Values) -> RedactedAudio | None:
    """Return the wish for a copy of the recording, `None` if there is none. Raises `CallerError`."""
    if not flag(values, _AUDIO):
        for name in (_QUALITY, _OPTIONS):
            if asks(values.get(name)) and not flag(values, "redact_pii"):
                raise CallerError(f"`{name}` needs `{_AUDIO}`.", param=name)
        return None
    if not flag(values, "redact_pii"):
        raise CallerError(f"`{_AUDIO}` needs `redact_pii`.", param=_AUDIO)
    codec = QUALITIES.get(text(values, _QUALITY) or "mp3")
    if codec is None:
        raise CallerError(f"`{_QUALITY}` must be mp3 or wav.", param=_QUALITY)
    options = values.get(_OPTIONS) or {}
    if not isinstance(options, dict) or not options.keys() <= {_METHOD, _NO_SPEECH}:
        raise CallerError(f"`{_OPTIONS}` can have {_METHOD} and {_NO_SPEECH}.", param=_OPTIONS)
    if options.get(_METHOD) not in (None, Cover.SILENCE):
        raise CallerError(f"`{_METHOD}` must be silence.", param=_OPTIONS)
    return RedactedAudio(codec, Cover.SILENCE if options.get(_METHOD) else Cover.BEEP)
