"""Languages as ElevenLabs names them: ISO 639-3 in answers; ISO 639-3 or ISO 639-1 in requests."""

from collections.abc import Sequence

from antiphon.core.events import Final, main_language

UNDETERMINED = "und"
PROBABILITY_DIGITS = 4

_CODES = {
    "af": "afr",
    "am": "amh",
    "ar": "ara",
    "as": "asm",
    "az": "aze",
    "ba": "bak",
    "be": "bel",
    "bg": "bul",
    "bn": "ben",
    "bo": "bod",
    "br": "bre",
    "bs": "bos",
    "ca": "cat",
    "cs": "ces",
    "cy": "cym",
    "da": "dan",
    "de": "deu",
    "el": "ell",
    "en": "eng",
    "es": "spa",
    "et": "est",
    "eu": "eus",
    "fa": "fas",
    "fi": "fin",
    "fo": "fao",
    "fr": "fra",
    "gl": "glg",
    "gu": "guj",
    "ha": "hau",
    "haw": "haw",
    "he": "heb",
    "hi": "hin",
    "hr": "hrv",
    "ht": "hat",
    "hu": "hun",
    "hy": "hye",
    "id": "ind",
    "is": "isl",
    "it": "ita",
    "ja": "jpn",
    "jv": "jav",
    "ka": "kat",
    "kk": "kaz",
    "km": "khm",
    "kn": "kan",
    "ko": "kor",
    "la": "lat",
    "lb": "ltz",
    "ln": "lin",
    "lo": "lao",
    "lt": "lit",
    "lv": "lav",
    "mg": "mlg",
    "mi": "mri",
    "mk": "mkd",
    "ml": "mal",
    "mn": "mon",
    "mr": "mar",
    "ms": "msa",
    "mt": "mlt",
    "my": "mya",
    "ne": "nep",
    "nl": "nld",
    "nn": "nno",
    "no": "nor",
    "oc": "oci",
    "pa": "pan",
    "pl": "pol",
    "ps": "pus",
    "pt": "por",
    "ro": "ron",
    "ru": "rus",
    "sa": "san",
    "sd": "snd",
    "si": "sin",
    "sk": "slk",
    "sl": "slv",
    "sn": "sna",
    "so": "som",
    "sq": "sqi",
    "sr": "srp",
    "su": "sun",
    "sv": "swe",
    "sw": "swa",
    "ta": "tam",
    "te": "tel",
    "tg": "tgk",
    "th": "tha",
    "tk": "tuk",
    "tl": "fil",
    "tr": "tur",
    "tt": "tat",
    "uk": "ukr",
    "ur": "urd",
    "uz": "uzb",
    "vi": "vie",
    "yi": "yid",
    "yo": "yor",
    "yue": "yue",
    "zh": "zho",
}
_TAGS = {code: language for language, code in _CODES.items()} | {"tgl": "tl", "nob": "no"}


def tag(code: str) -> str:
    """Return a caller's language code as a BCP 47 tag: the code of two letters if there is one."""
    return _TAGS.get(code.lower(), code)


def code_of(language: str) -> str:
    """Return the ISO 639-3 code of a language, without its region; an unknown language keeps its name."""
    spoken = language.partition("-")[0].lower()
    return _CODES.get(spoken, spoken)


def spoken_language(finals: Sequence[Final], possible: Sequence[str]) -> tuple[str, float]:
    """Return the code of the spoken language and its probability (0..1). Without speech it is the only possible
    language, else `UNDETERMINED`.
    """
    language, sure = main_language(finals)
    if not language and len(possible) == 1:
        language, sure = possible[0], 1.0
    return (code_of(language), round(sure, PROBABILITY_DIGITS)) if language else (UNDETERMINED, 0.0)
