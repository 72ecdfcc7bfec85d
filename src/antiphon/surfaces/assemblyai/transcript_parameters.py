"""The parameters of a transcript (`POST /v2/transcript`): a table of all of them, and their meaning.

Each is honoured, or without effect and named in `metadata.warnings`, or refused; never ignored. A refused parameter is
accepted only with a value that requests nothing. Unknown names are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from antiphon.core.capabilities import SpeechAbility
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.rewriting import Replacement, Rewriting, core
from antiphon.core.specs import TranscribeSpec
from antiphon.surfaces.assemblyai import redaction
from antiphon.surfaces.assemblyai.parameters import MAX_SHOWN, NO_SPEAKERS, Parameter, Use
from antiphon.surfaces.assemblyai.values import Values, asks, entries, flag, number, terms, text, whole

DEFAULT_MODEL = "universal"
MAX_URL_CHARS = 8_192
MAX_HEADER_CHARS = 2_048
MAX_PROMPT_CHARS = 6_000
MAX_SPELLINGS = 500
MAX_SPELLED_CHARS = 128
MAX_MODELS = 10
MAX_AUDIO_MS = 1 << 31

_ANALYSIS = "No model here analyses a transcript; ask a language model with its text."
_UNREDACTED = "What is hidden is not given in another field; ask without `redact_pii`."
_GUIDES = "Guides a model that can be guided, as Whisper; without effect on any other."

TABLE: tuple[Parameter, ...] = (
    Parameter(
        "audio_url", Use.HONOURED, "An `http` or `https` URL that the server fetches, or what `/v2/upload` gave."
    ),
    Parameter(
        "speech_model",
        Use.HONOURED,
        f"Any name that the server's table of models knows. Without it: `{DEFAULT_MODEL}`.",
    ),
    Parameter("speech_models", Use.HONOURED, "The first of them; it goes before `speech_model`."),
    Parameter("language_code", Use.HONOURED, "A language that the model hears, whatever its region."),
    Parameter("language_codes", Use.HONOURED, "Languages that the model hears, of which one is spoken."),
    Parameter(
        "language_detection",
        Use.HONOURED,
        "Finds out which language is spoken, and says it. Refused where the model cannot.",
    ),
    Parameter(
        "language_confidence_threshold",
        Use.HONOURED,
        "0 to 1, with `language_detection`: below it the transcript is an `error`. What was heard is charged.",
    ),
    Parameter(
        "language_detection_options",
        Use.HONOURED,
        "`expected_languages`: one of these is spoken. `on_low_language_confidence`: `error` only. The others have no "
        "effect.",
    ),
    Parameter("punctuate", Use.HONOURED, "`false` leaves out the marks around words. Without it: `true`."),
    Parameter("format_text", Use.HONOURED, "`false` writes lower case. Without it: `true`, as the model writes it."),
    Parameter("multichannel", Use.HONOURED, "Each channel by itself, with `utterances`."),
    Parameter("dual_channel", Use.HONOURED, "An old name of `multichannel`."),
    Parameter("audio_start_from", Use.HONOURED, "Milliseconds: what is before is neither heard nor charged."),
    Parameter("audio_end_at", Use.HONOURED, "Milliseconds: what is after is neither heard nor charged."),
    Parameter("word_boost", Use.HONOURED, _GUIDES),
    Parameter("keyterms_prompt", Use.HONOURED, _GUIDES),
    Parameter("prompt", Use.HONOURED, _GUIDES),
    Parameter("custom_spelling", Use.HONOURED, "`[{from, to}]`: words or phrases, whatever their case."),
    Parameter(
        "filter_profanity",
        Use.HONOURED,
        "Asterisks behind the first letter: of the words of a short English list, and no others.",
    ),
    Parameter(
        "speech_threshold",
        Use.HONOURED,
        "0 to 1: with less of the audio in utterances the transcript is an `error`. What was heard is charged.",
    ),
    Parameter("webhook_url", Use.HONOURED, "Is told when the transcript is `completed` or an `error`; see below."),
    Parameter("webhook_auth_header_name", Use.HONOURED, "With the value: a header of that call."),
    Parameter("webhook_auth_header_value", Use.HONOURED, "With the name: what stands in it."),
    Parameter("disfluencies", Use.NO_EFFECT, "Whether filler words are written is the model's choice."),
    Parameter("boost_param", Use.NO_EFFECT, "Key terms have one weight."),
    Parameter("keyterms_prompt_options", Use.NO_EFFECT, "Key terms have one weight."),
    Parameter("temperature", Use.NO_EFFECT, "The likeliest text is written."),
    Parameter("remove_audio_tags", Use.NO_EFFECT, "There are none."),
    Parameter("domain", Use.NO_EFFECT, "There is one domain."),
    Parameter("speaker_labels", Use.NO_EFFECT, f"{NO_SPEAKERS} `multichannel` keeps channels apart."),
    Parameter("speakers_expected", Use.NO_EFFECT, NO_SPEAKERS),
    Parameter("speaker_options", Use.NO_EFFECT, NO_SPEAKERS),
    Parameter(
        "redact_pii",
        Use.HONOURED,
        "Hides personal data, in addition to what the project's policy hides. English only. In every view.",
    ),
    Parameter("redact_pii_policies", Use.HONOURED, "Kinds of it, as on the stream; without it: all."),
    Parameter("redact_pii_sub", Use.HONOURED, "`hash` (without it) or `entity_name`."),
    Parameter(
        "redact_pii_audio",
        Use.HONOURED,
        "With `redact_pii`: a copy of the recording in which a tone covers what is hidden. Channels are mixed.",
    ),
    Parameter("redact_pii_audio_quality", Use.HONOURED, "`mp3` (without it) or `wav`, at 16 kHz."),
    Parameter(
        "redact_pii_audio_options",
        Use.HONOURED,
        "`override_audio_redaction_method`: `silence` in place of the tone. `return_redacted_no_speech_audio` has no "
        "effect: the copy is always made.",
    ),
    Parameter("redact_pii_return_unredacted", Use.REFUSED, _UNREDACTED),
    *(
        Parameter(name, Use.REFUSED, _ANALYSIS)
        for name in (
            "auto_chapters",
            "auto_highlights",
            "content_safety",
            "content_safety_confidence",
            "custom_topics",
            "entity_detection",
            "iab_categories",
            "sentiment_analysis",
            "speech_understanding",
            "summarization",
            "summary_model",
            "summary_type",
            "topics",
        )
    ),
)
_BY_NAME = {row.name: row for row in TABLE}
_WHOLE_LANGUAGE = frozenset(("fallback_language", "code_switching", "code_switching_confidence_threshold"))
_OPTIONS = _WHOLE_LANGUAGE | {"expected_languages", "on_low_language_confidence", "swiss_german"}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]+")
# Headers of the request itself, or of the connection.
_OWN_HEADERS = frozenset(
    (
        *("antiphon-signature", "connection", "content-encoding", "content-length", "content-type", "expect", "host"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)


class _Spelling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of `custom_spelling`."""

    find: list[str] | str = msgspec.field(name="from")
    put: str = msgspec.field(name="to")


@dataclass(frozen=True, slots=True)
class Request:
    """The request. `guiding` are the names of the parameters whose effect depends on the model, `without_effect` of
    those that do nothing here.
    """

    spec: TranscribeSpec
    punctuate: bool
    formats: bool
    rewriting: Rewriting | None
    least_language: float | None
    least_speech: float | None
    guiding: tuple[str, ...]
    without_effect: tuple[str, ...]

    @property
    def dispensable(self) -> tuple[tuple[SpeechAbility, str], ...]:
        """Parameters that may have no effect, with the ability that they need."""
        return tuple((SpeechAbility.GUIDANCE, name) for name in self.guiding)


def read(values: Values) -> Request:
    """Return the request. Raises `CallerError` for an invalid value, `UnsupportedParameter` for a refused parameter."""
    for name, value in values.items():
        row = _BY_NAME.get(name)
        if row is None:
            raise UnsupportedParameter(f"Unknown parameter {name[:MAX_SHOWN]!r}.", param=name[:MAX_SHOWN])
        if row.use is Use.REFUSED and asks(value):
            raise UnsupportedParameter(f"`{name}` is not supported: {row.how}", param=name)
    _check_webhook(values)
    detects = flag(values, "language_detection")
    options = _detection_options(values) if detects else {}
    from_ms, until_ms = _slice(values)
    keyterms = (*terms(values, "keyterms_prompt"), *terms(values, "word_boost"))
    prompt = (text(values, "prompt") or "").strip()
    if len(prompt) > MAX_PROMPT_CHARS:
        raise CallerError(f"`prompt` can have at most {MAX_PROMPT_CHARS} characters.", param="prompt")
    language, languages = _languages(values, options, detects)
    spec = TranscribeSpec(
        model=_model(values),
        multichannel=flag(values, "multichannel") or flag(values, "dual_channel"),
        word_times=True,
        language=language,
        languages=languages,
        detect=detects,
        prompt=prompt,
        keyterms=keyterms,
        from_ms=from_ms,
        until_ms=until_ms,
        redaction=redaction.read(values),
        redacted_audio=redaction.read_audio(values),
    )
    masks, spelling = flag(values, "filter_profanity"), tuple(_spelling(values))
    return Request(
        spec,
        flag(values, "punctuate", True),
        flag(values, "format_text", True),
        Rewriting(spelling, masks, initials=True) if masks or spelling else None,
        _threshold(values, detects),
        number(values, "speech_threshold", 0, 1),
        tuple(name for name in ("prompt", "keyterms_prompt", "word_boost") if asks(values.get(name))),
        (
            *(name for name, value in values.items() if _BY_NAME[name].use is Use.NO_EFFECT and asks(value)),
            *(f"language_detection_options.{name}" for name in options if name in _WHOLE_LANGUAGE | {"swiss_german"}),
        ),
    )


def warning(name: str) -> str:
    """Return the warning that says why a parameter has no effect."""
    row = _BY_NAME.get(name)
    if name.startswith("language_detection_options."):
        return f"`{name}` has no effect: one language is found out for each utterance."
    if row is None or row.use is not Use.NO_EFFECT:
        return f"`{name}` has no effect: this model cannot be guided towards words."
    return f"`{name}` has no effect: {row.how}"


def _model(values: Values) -> str:
    models = entries(values, "speech_models")
    if len(models) > MAX_MODELS:
        raise CallerError(f"`speech_models` can have at most {MAX_MODELS} names.", param="speech_models")
    return (models[0] if models else text(values, "speech_model")) or DEFAULT_MODEL


def _languages(values: Values, options: Values, detects: bool) -> tuple[str, tuple[str, ...]]:
    """Return the spoken language, or the languages of which one is spoken."""
    language, languages = text(values, "language_code") or "", tuple(entries(values, "language_codes"))
    if detects and (language or languages):
        raise CallerError(
            "Either name the language, or set `language_detection`: then `expected_languages` of "
            "`language_detection_options` are those that it may be.",
            param="language_code" if language else "language_codes",
        )
    expected = tuple(each for each in entries(options, "expected_languages") if each != "all")
    return language, expected if detects else () if language else languages


def _detection_options(values: Values) -> dict[str, object]:
    """Return the detection options that request something."""
    options = values.get("language_detection_options")
    if options is None:
        return {}
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise CallerError("`language_detection_options` must be an object.", param="language_detection_options")
    for name in options:
        if name not in _OPTIONS:
            shown = f"language_detection_options.{name[:MAX_SHOWN]}"
            raise UnsupportedParameter(f"Unknown parameter {shown!r}.", param=shown)
    on_low = options.get("on_low_language_confidence")
    if on_low not in (None, "error"):
        raise UnsupportedParameter(
            "`language_detection_options.on_low_language_confidence` must be 'error': what was heard in one language "
            "is not heard again in another.",
            param="language_detection_options.on_low_language_confidence",
        )
    return {name: value for name, value in options.items() if asks(value) and value != "auto"}


def _threshold(values: Values, detects: bool) -> float | None:
    least = number(values, "language_confidence_threshold", 0, 1)
    if least and not detects:
        raise CallerError(
            "`language_confidence_threshold` needs `language_detection`.", param="language_confidence_threshold"
        )
    return least


def _slice(values: Values) -> tuple[int, int | None]:
    from_ms = whole(values, "audio_start_from", 0, MAX_AUDIO_MS) or 0
    until_ms = whole(values, "audio_end_at", 0, MAX_AUDIO_MS)
    if until_ms is not None and until_ms <= from_ms:
        raise CallerError("`audio_end_at` must be after `audio_start_from`.", param="audio_end_at")
    return from_ms, until_ms


def _spelling(values: Values) -> Iterator[Replacement]:
    value = values.get("custom_spelling")
    if value is None:
        return
    try:
        spellings = msgspec.convert(value, list[_Spelling])
    except msgspec.ValidationError:
        raise CallerError("`custom_spelling` must be a list of {from, to}.", param="custom_spelling") from None
    count = 0
    for each in spellings:
        for found in [each.find] if isinstance(each.find, str) else each.find:
            find, put = tuple(filter(None, map(core, found.lower().split()))), tuple(each.put.split())
            count += 1
            if not find or not put or count > MAX_SPELLINGS or len(found) + len(each.put) > MAX_SPELLED_CHARS:
                raise CallerError(
                    f"`custom_spelling` can have at most {MAX_SPELLINGS} entries, none of them empty or longer than "
                    f"{MAX_SPELLED_CHARS} characters.",
                    param="custom_spelling",
                )
            yield Replacement(find, put)


def _check_webhook(values: Values) -> None:
    url = text(values, "webhook_url")
    if url:
        check_url(url, "webhook_url")
    name, value = (text(values, f"webhook_auth_header_{part}") for part in ("name", "value"))
    if bool(name) != bool(value):
        missing = "webhook_auth_header_value" if name else "webhook_auth_header_name"
        raise CallerError("A webhook's header needs both a name and a value.", param=missing)
    if name and (not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS):
        raise CallerError("`webhook_auth_header_name` must be the name of a header.", param="webhook_auth_header_name")
    if value and (len(value) > MAX_HEADER_CHARS or not _HEADER_VALUE.fullmatch(value)):
        raise CallerError(
            f"`webhook_auth_header_value` must be at most {MAX_HEADER_CHARS} ASCII characters without line breaks.",
            param="webhook_auth_header_value",
        )


def check_url(url: str, name: str) -> None:
    """Raise `CallerError` for a URL that cannot be fetched."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
    except ValueError:
        sound = False
    if not sound or len(url) > MAX_URL_CHARS:
        message = f"`{name}` must be a URL that begins with http:// or https://, of at most {MAX_URL_CHARS} characters."
        raise CallerError(message, param=name)
