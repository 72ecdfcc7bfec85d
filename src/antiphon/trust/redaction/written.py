"""Things with a written form of their own: addresses of mail, machines and pages, IBANs, keys."""

import re
from collections.abc import Callable, Iterator

from antiphon.core.redaction import Entity, Span

_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}[A-Z0-9 -]{11,45}", re.IGNORECASE | re.ASCII)
MIN_CODE_DIGITS = 3
_IBAN_CHARS = range(15, 35)


def _is_iban(text: str) -> bool:
    """Return whether it is an IBAN (ISO 13616): with the first four characters last and letters as numbers, modulo 97
    is 1.
    """
    iban = re.sub("[ -]", "", text)
    if len(iban) not in _IBAN_CHARS:
        return False
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97 == 1


def _ibans(text: str) -> Iterator[Span]:
    """Yield the IBANs in a text. What follows on one may look like more of it."""
    at = 0
    while (match := _IBAN.search(text, at)) is not None:
        ends = (end for end in range(match.end(), match.start(), -1) if not text[end : end + 1].isalnum())
        end = next((end for end in ends if text[end - 1].isalnum() and _is_iban(text[match.start() : end])), None)
        at = match.start() + 4 if end is None else end
        if end is not None:
            yield Span(match.start(), end, (Entity.BANK, Entity.ACCOUNT))


def _is_mixed(text: str) -> bool:
    """Return whether a long word looks like a key: it has letters and digits, and neither are rare."""
    digits, uppers = sum(map(str.isdigit, text)), sum(map(str.isupper, text))
    lowers = sum(map(str.islower, text))
    random = digits > 0 < lowers and (digits + uppers) * 3 >= len(text)
    return random or (digits >= 3 and (len(text) - digits) >= 3 and (digits + uppers) * 8 >= len(text))


def _is_code(text: str) -> bool:
    return sum(map(str.isdigit, text)) >= MIN_CODE_DIGITS and any(map(str.isalpha, text))


_SECRET_CUE = (
    r"\b(?:secret|token|key|keys|bearer|apikey|api_key|secret_key|access_key|credential|credentials|basic)[\"']?"
    r"(?:\s+(?:is|was)\b|\s*[:=,])?\s*[\"'`]?"
)
_BIC = re.compile(
    r"\b(?:BIC|SWIFT)\b(?:\s+(?:code|is))*\s*[:=]?\s*([A-Z]{6}[A-Z0-9]{2,5})\b", re.IGNORECASE
)  # ISO 9362
_SECRET = re.compile(_SECRET_CUE + r"([A-Za-z0-9/+_.~-]{12,}={0,2})", re.IGNORECASE)
MIN_SECRET, MAX_SECRET = 6, 128
_BETWEEN = re.compile(r"(?<=[A-Za-z0-9])(?:[!#%^&*@]|\$(?![0-9]))(?=[A-Za-z0-9])")


def _passwords(text: str) -> Iterator[Span]:
    """Yield words that look like passwords: with capitals, small letters, digits, and a sign between them."""
    at = 0
    while (match := _BETWEEN.search(text, at)) is not None:
        start = end = match.start()
        while start > at and end - start < MAX_SECRET and not text[start - 1].isspace():
            start -= 1
        while end < len(text) and end - start < MAX_SECRET and not text[end].isspace():
            end += 1
        word = text[start:end]
        if len(word) >= MIN_SECRET and all(any(map(holds, word)) for holds in (str.isupper, str.islower, str.isdigit)):
            yield Span(start, end, (Entity.PASSWORD,))
        at = max(end, match.end())


def _has_digits_and_letters(text: str) -> bool:
    return any(map(str.isdigit, text)) and any(map(str.isalpha, text))


def _always(text: str) -> bool:
    return True


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_FORMS: tuple[tuple[re.Pattern[str], tuple[Entity, ...], Callable[[str], bool]], ...] = (
    (
        re.compile(r"[\w!#$%&'*+/=?^`{|}~.\\-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,5}"),
        (Entity.EMAIL,),
        _always,
    ),
    (
        re.compile(r"\b(?:(?:https?|ftp|wss?)://|www\.)[^\s<>\"']{1,2000}[^\s<>\"'.,;:!?)\]]", re.IGNORECASE),
        (Entity.URL,),
        _always,
    ),
    (
        re.compile(
            r"\b(?:[A-Za-z0-9-]{1,63}\.){1,5}(?:com|org|net|edu|gov|io|co\.uk|co|uk|de|fr|eu|us|ca|nl|ch|nz|ie|info|biz|app|dev|"
            r"ai|me|tv|xyz|online|shop|tech|blog|[a-z]{2}(?=/\w))"
            r"(?::[0-9]{1,5})?(?:[/?#][^\s<>\"']{0,500}[^\s<>\"',.;:!?)\]])?(?![\w@.-]*@)\b",
            re.IGNORECASE,
        ),
        (Entity.URL,),
        _always,
    ),
    (
        re.compile(rf"(?<![0-9.]){_OCTET}(?:\.{_OCTET}){{3}}(?![0-9.]*[0-9])(?:[:/][0-9]{{1,5}})?"),
        (Entity.IP,),
        _always,
    ),
    (
        re.compile(r"(?<![0-9A-Za-z:])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?![0-9A-Za-z:])"),
        (Entity.IP,),
        lambda text: text.count(":") == 7 or ("::" in text and any(map(str.isdigit, text))),
    ),
    (re.compile(r"(?<![0-9A-Fa-f:-])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:-])"), (Entity.IP,), _always),
    (
        re.compile(
            r"\b(?:(?:sk|pk|rk|whsec|xox[abprs]|gh[pousr]|glpat|hf|npm|pypi|shpat|sq0atp)[-_][A-Za-z0-9_-]{12,}"
            r"|AKIA[A-Z0-9]{16}|ASIA[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]{4,}){1,2})"
        ),
        (Entity.PASSWORD,),
        _always,
    ),
    (
        re.compile(r"(?<![A-Za-z0-9/+_-])[A-Za-z0-9/+_-]{24,}={0,2}(?![A-Za-z0-9])"),
        (Entity.PASSWORD, Entity.ACCOUNT),
        _is_mixed,
    ),
    (
        re.compile(r"(?<![A-Za-z0-9-])[A-Z0-9]{7,24}(?![A-Za-z0-9-])"),
        (Entity.ACCOUNT, Entity.LICENCE, Entity.PASSPORT, Entity.HEALTH_RECORD, Entity.NUMBER),
        _is_code,
    ),
    (re.compile(r"\b[A-Z]{1,2}<[A-Z0-9<]{10,88}"), (Entity.PASSPORT,), _always),  # of its machine-readable zone
    (re.compile(r"(?<![0-9/])0[1-9]/[2-4][0-9](?![0-9/])"), (Entity.CARD_EXPIRY, Entity.DATE), _always),
    (re.compile(r"\b(?:1[-. ])?8[0-8]{2}[-.](?:[A-Z]{2,}-?){1,3}[0-9]*\b"), (Entity.PHONE,), _always),  # 800-CALL-NOW
    (re.compile(r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"), (Entity.NATIONAL_ID,), _always),
    (re.compile(r"\b[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b"), (Entity.NATIONAL_ID,), _always),
    (re.compile(r"\b[A-Z]{1,2}[0-9][0-9A-Z]? [0-9][A-Z]{2}\b"), (Entity.ADDRESS,), _always),  # a British postcode
    (re.compile(r"\b[A-Z]{2} [0-9]{5}(?:-[0-9]{4})?\b"), (Entity.ADDRESS,), _always),
    (re.compile(r"\b[ABCEGHJ-NPRSTVXY][0-9][A-Z] [0-9][A-Z][0-9]\b"), (Entity.ADDRESS,), _always),
)


def written(text: str) -> Iterator[Span]:
    yield from _ibans(text)
    yield from _passwords(text)
    for match in _SECRET.finditer(text):
        if _has_digits_and_letters(match[1]):
            yield Span(*match.span(1), (Entity.PASSWORD,))
    for match in _BIC.finditer(text):
        yield Span(*match.span(1), (Entity.BANK,))
    for pattern, kinds, holds in _FORMS:
        for match in pattern.finditer(text):
            if holds(match[0]):
                yield Span(*match.span(), kinds)
