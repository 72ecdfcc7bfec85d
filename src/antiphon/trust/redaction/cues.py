"""Words that name the kind of a number or code near them, and words that mark it as harmless."""

from dataclasses import dataclass

from antiphon.core.redaction import Entity
from antiphon.trust.redaction.tokens import Kind, Token, word_set

REACH = 9  # words at most between a cue and the number


@dataclass(frozen=True, slots=True)
class Cue:
    """The cue of a kind. A number or code with fewer than `least` characters is not hidden because of it."""

    kinds: tuple[Entity, ...]
    least: int


# Single words and short phrases, in lower case, also as speech recognisers misspell some of them.
_TABLE: tuple[tuple[Entity | tuple[Entity, ...], int, str], ...] = (
    (Entity.CARD, 4, "card|visa|mastercard|amex|debit|credit"),
    (
        Entity.CARD,
        3,
        "ends in|ending in|ending with|ends with|finishes in|finishing in|one ending|card ending|last four|last three",
    ),
    (
        Entity.CARD_CODE,
        3,
        "security code|cvv|cvc|c v v|c v c|code is|the back|verification code|three digits|four digits|the code|"
        "verification number|code on my card|code on the card|back of the card|back of my card|back of it",
    ),
    (
        Entity.CARD_EXPIRY,
        3,
        "expires|expire|expiry|expiration|expiring|exp|valid until|valid till|valid thru|valid through|good through|"
        "good thru|good until|good till|end date|start date|valid from",
    ),
    (
        Entity.NATIONAL_ID,
        4,
        "social|ssn|s s n|social security|national insurance|tax id|tax i d|tin|ein|itin|taxpayer|my social|nino",
    ),
    (
        Entity.PHONE,
        4,
        "phone|telephone|call|calls|text|mobile|cell|cellphone|reach|dial|fax|landline|whatsapp|ring|my number|"
        "number is|callback|number's|contact|hotline|best number",
    ),
    (Entity.PHONE, 2, "extension|ext"),
    (
        (Entity.BANK, Entity.ACCOUNT),
        4,
        "account|acct|acc|bank|checking|savings|iban|routing|sort code|aba|swift|bratting|i ban|i b a n|b s b|bsb|"
        "ifsc|clabe|a c",
    ),
    (
        Entity.ACCOUNT,
        3,
        "member|membership|policy|customer|order|reference|ref|confirmation|claim|ticket|case|invoice|booking|"
        "subscriber|i d|id|loyalty|tracking|serial|employee|user number|badge|group number|reservation|folio|code|"
        "agreement|student|identification|p n r|pnr|frequent flyer|contract|docket",
    ),
    (
        Entity.HEALTH_RECORD,
        3,
        "medical record|mrn|m r n|patient|chart|record|health card|medicare|medicaid|nhs|n h s|insurance number|"
        "prescription|health plan|beneficiary",
    ),
    (Entity.PASSPORT, 4, "passport"),
    (
        Entity.LICENCE,
        3,
        "dl|d l|license|licence|driver's|drivers|driving|plate|plates|registration|registered as|reg|vin|tag number",
    ),
    (
        Entity.PIN,
        3,
        "pin|pin code|pin number|p i n|my pen|passcode|otp|o t p|pin code is|"
        "one time code|door code|gate code|alarm code",
    ),
    (
        Entity.PIN,
        4,
        "the safe|safe opens|combination|unlock",
    ),
    (Entity.ADDRESS, 3, "zip|zipcode|postal|postcode|post code|zip code|postal code|zip code is|postal code is"),
    (Entity.DATE_OF_BIRTH, 3, "birth|born|birthday|birthdate|dob|d o b|data birth|birth date"),
    (Entity.PASSWORD, 3, "password|passphrase|pass word|login code|secret"),
    (Entity.IP, 4, "ip address|i p address|ip|i p"),
)
CUES: dict[tuple[str, ...], Cue] = {
    tuple(phrase.split()): Cue((kinds,) if isinstance(kinds, Entity) else kinds, least)
    for kinds, least, phrases in _TABLE
    for phrase in phrases.split("|")
}
LONGEST = max(map(len, CUES))

# Words before a run that mark it as a count, a name or a measure, which is not secret.
HARMLESS_BEFORE = word_set(
    "room flight bus train exit "
    "chapter chapters verse verses page pages version volume platform gate score scores scored won lost beat line "
    "lines step act scene figure table question section paragraph article season episode series channel level round "
    "lap route highway interstate $ £ € year years since in around about almost nearly over under psalm hymn row "
    "top degrees degree dial between until till from than at by before after circa route boeing ratio bake"
)
# Words after it that do the same.
UNITS_BEHIND = word_set(
    "minutes minute hours hour seconds second days day weeks week months month years year dollars dollar pounds "
    "pound euros cents percent % people men women children times units miles mile kilometers kilometres meters "
    "metres feet foot inches inch degrees degree grams kilograms kilos pounds tons tonnes liters litres gallons "
    "acres points votes copies pages words soldiers members students employees items pieces cups cup tablespoons "
    "teaspoons thousand million billion trillion hundred dozen percentage am pm a.m p.m o'clock bc ad b.c yards "
    "yard mph watts volts megabytes gigabytes calories stars ships troops horses sheep francs louis shillings "
    "guineas rupees fold th st barrels crowns leagues inhabitants souls customers orders passengers visitors homes "
    "houses cars tickets"
)
STOPWORDS = word_set(
    "a an the is it it's its that's that this these those to of in on at by for with from and or but as be am are "
    "was were been i i'm you your my me we our they their he she his her him them us so if then than not no yes "
    "please will would can could should shall may might do does did done have has had having just also there here "
    "when where what which who whom how why now again about after before until while because into onto over under "
    "up down out off near past next between behind beside across opposite around around through during since "
    "without within call text write send email mail e-mail address contact reach get got go goes going look visit "
    "see use using try online website site web page let's let make need want like know think say says said tell ask "
    "okay ok well right thanks thank hello hi hey sorry one's too very more most some any all each every both "
    "either neither"
)


_GENERAL = frozenset({("number", "is"), ("my", "number"), ("number's",)})  # only used if no other cue is near


def cue_before(tokens: list[Token], at: int) -> tuple[Cue, int] | None:
    """Return the nearest cue before a token, the longest one that ends there, and the number of words between them;
    `None` if none is near.
    """
    words = 0
    general: tuple[Cue, int] | None = None
    for end in range(at, max(0, at - 3 * REACH), -1):
        token = tokens[end - 1]
        if token.kind is Kind.MARK:
            if token.word in ".?!" and words and not token.glued:
                return general
            continue
        for length in range(min(LONGEST, end), 0, -1):
            phrase = tuple(each.word for each in tokens[end - length : end])
            cue = CUES.get(phrase)
            if cue is None and phrase[-1].endswith("'s"):  # "the expiration's eight twenty six"
                cue = CUES.get((*phrase[:-1], phrase[-1].removesuffix("'s")))
            if cue is not None and phrase not in _GENERAL:
                return cue, words
            if cue is not None:
                general = general or (cue, words)
        words += 1
        if words > REACH:
            break
    return general


def cue_behind(tokens: list[Token], at: int) -> Cue | None:
    """Return the cue in a phrase like "... is my account number" or "... my account number", if the phrase begins at
    the token `at`, after a number.
    """
    at += at < len(tokens) and tokens[at].word == ","
    words = [token.word for token in tokens[at : at + 7]]
    if words[:1] != ["my"]:
        if not words or words.pop(0) not in ("is", "was", "as", "for", "that's", "that", "which"):
            return None
        words = words[words[:1] in (["is"], ["was"]) :]
        if not {"my", "the", "our", "her", "his", "their", "your", "when"} & set(words[:1]):
            return None
    for begin in range(1, len(words)):
        for length in range(min(LONGEST, len(words) - begin), 0, -1):
            cue = CUES.get(tuple(words[begin : begin + length]))
            if cue is not None:
                return cue
    return None
