"""Sentences with what must be hidden in them, made from parts of our own: written, spoken, and as recognisers of speech
write what was spoken. The same ones each time. Those without are in `tests/data`.
"""

import random
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data"
PAUSED, PAUSE = "call, paused", " || "


def listed(text: str, by: str | None = None) -> list[str]:
    return text.split(by)


ONES = listed("zero one two three four five six seven eight nine")
TEENS = listed("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
TENS = listed("_ _ twenty thirty forty fifty sixty seventy eighty ninety")
MONTHS = listed("january february march april may june july august september october november december")
ORDINALS = listed(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
)
NAMES = listed(
    "Olivia Hartwell|Mateo Fuentes|Aisha Rahman|Liam Gallagher|Chen Wei|Ingrid Solberg|Tobias Krause|Fatou Diallo|"
    "Rohan Mehta|Sinead Byrne|Marcus Delacroix|Yuki Tanaka|Anya Petrova|Samuel Adeyemi|Beatriz Carvalho|"
    "Henrik Nystrom|Leila Haddad|Dmitri Volkov|Grace Okonkwo|Javier Montoya|Freya Lindqvist|Nathan Whitfield|"
    "Zanele Dube|Patrick O'Rourke",
    "|",
)
TOWNS = listed("Chicago Bristol Marseille Denver Hamburg Osaka Lisbon Phoenix Dublin Seattle Glasgow Toledo")
STREETS = listed(
    "Maple Street|Kingsway Avenue|Harbour Road|Willow Lane|Elm Court|Sunset Boulevard|Station Road|Cedar Drive", "|"
)


@dataclass(frozen=True)
class Sentence:
    """`hidden` are texts in it that must be, with what they are; `form` is written, spoken, heard or none."""

    text: str
    form: str
    hidden: tuple[tuple[str, str], ...] = ()

    @property
    def spans(self) -> list[dict]:
        spans, at = [], 0
        for kind, text in self.hidden:
            start = self.text.index(text, at)
            at = start + len(text)
            spans.append({"start": start, "end": at, "type": kind, "text": text})
        return spans


def one_by_one(digits: str, oh: str = "zero") -> str:
    return " ".join(oh if digit == "0" else ONES[int(digit)] for digit in digits)


def doubled(digits: str) -> str:
    """With "double" where a digit follows on itself."""
    words, at = [], 0
    while at < len(digits):
        same = 1
        while same < 3 and at + same < len(digits) and digits[at + same] == digits[at]:
            same += 1
        word = "oh" if digits[at] == "0" else ONES[int(digits[at])]
        words.append({1: "", 2: "double ", 3: "triple "}[same] + word)
        at += same
    return " ".join(words)


def pair(two: str) -> str:
    if two[0] == "0":
        return f"oh {'oh' if two[1] == '0' else ONES[int(two[1])]}"
    if two[0] == "1":
        return TEENS[int(two[1])]
    return TENS[int(two[0])] + ("" if two[1] == "0" else f" {ONES[int(two[1])]}")


def in_pairs(digits: str) -> str:
    return " ".join(pair(digits[at : at + 2]) for at in range(0, len(digits) - 1, 2)) + (
        f" {ONES[int(digits[-1])]}" if len(digits) % 2 else ""
    )


def in_groups(digits: str, *sizes: int, say=one_by_one, between: str = ", ") -> str:
    groups, at = [], 0
    for size in sizes:
        groups.append(say(digits[at : at + size]))
        at += size
    return between.join(groups)


def card(dice: random.Random) -> str:
    """Sixteen digits whose check digit is right."""
    digits = dice.choice(("4", "51", "55", "6011"))
    digits += "".join(str(dice.randrange(10)) for _ in range(15 - len(digits)))
    total = sum(
        (value := int(digit) * (2 if place % 2 == 0 else 1)) - 9 * (value > 9)
        for place, digit in enumerate(reversed(digits))
    )
    return digits + str(-total % 10)


def iban(dice: random.Random) -> str:
    body = "".join(str(dice.randrange(10)) for _ in range(18))
    check = 98 - int(body + "131400") % 97
    return f"DE{check:02}{body}"


def number(dice: random.Random, size: int) -> str:
    return str(dice.randrange(1, 10)) + "".join(str(dice.randrange(10)) for _ in range(size - 1))


def grouped(digits: str, *sizes: int, by: str = " ") -> str:
    return in_groups(digits, *sizes, say=str, between=by)


def _written(dice: random.Random) -> list[tuple[str, list[str], str]]:
    """(kind, carriers, value)"""
    name, town = dice.choice(NAMES), dice.choice(TOWNS)
    first, last = name.lower().replace("'", "").split()
    year, day, month = dice.randrange(1940, 2006), dice.randrange(1, 29), dice.randrange(12)
    phone, account, social = number(dice, 10), number(dice, 10), number(dice, 9)
    return [
        (
            "CREDIT_CARD",
            ["Please charge {} for the deposit.", "I'd like to use {} instead.", "The card: {}, thanks."],
            grouped(card(dice), 4, 4, 4, 4, by=dice.choice((" ", "-", ""))),
        ),
        (
            "PHONE",
            ["Ring me on {} tonight.", "Our new line is {}, open till nine.", "Her mobile's {} if you need her."],
            dice.choice(
                (
                    f"({phone[:3]}) {phone[3:6]}-{phone[6:]}",
                    grouped(phone, 3, 3, 4, by="-"),
                    f"+1 {grouped(phone, 3, 3, 4, by='.')}",
                    f"+44 20 {grouped(phone[:8], 4, 4)}",
                )
            ),
        ),
        (
            "EMAIL",
            ["Forward the receipt to {}.", "I signed up with {} last week.", "Is {} still on file?"],
            dice.choice(
                (
                    f"{first}.{last}@{dice.choice(('corp', 'mail', 'studio'))}.{dice.choice(('com', 'io', 'co.uk'))}",
                    f"{first}{year}@gmail.com",
                )
            ),
        ),
        (
            "SSN",
            ["It should say {} on the form.", "My SSN? It's {}.", "Tax file shows {} for me."],
            grouped(social, 3, 2, 4, by="-"),
        ),
        ("IBAN", ["Wire it to {} by Friday.", "The refund goes to {}."], grouped(iban(dice), 4, 4, 4, 4, 4, 2)),
        (
            "BANK",
            ["Use routing number {} for the transfer.", "Checking account {} was debited twice."],
            account[: dice.choice((9, 10))],
        ),
        (
            "IP",
            ["We blocked {} at the firewall.", "Traffic from {} looks odd."],
            f"{dice.randrange(11, 223)}.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(1, 255)}",
        ),
        (
            "URL",
            ["The file sits at {} for now.", "Open {} and sign in."],
            f"https://{last}-files.example.com/u/{number(dice, 5)}",
        ),
        (
            "DOB",
            ["Born {}, admitted today.", "Date of birth: {}.", "The patient's birthday is {}."],
            dice.choice(
                (
                    f"{MONTHS[month].title()} {day}, {year}",
                    f"{month + 1:02}/{day:02}/{year}",
                    f"{day} {MONTHS[month].title()} {year}",
                    f"{year}-{month + 1:02}-{day:02}",
                )
            ),
        ),
        ("DATE", ["Her procedure was on {}.", "They discharged him on {}."], f"{MONTHS[month].title()} {day}"),
        (
            "PASSPORT",
            ["Passport number {} expires soon.", "The passport reads {}."],
            dice.choice((account[:9], f"K{account[:8]}")),
        ),
        (
            "LICENSE",
            ["Driver's licence {} was scanned.", "The plate was {} I think."],
            f"{dice.choice('BDKLM')}{account[:7]}",
        ),
        (
            "ACCOUNT",
            ["Your membership ID {} is active.", "Order {} never arrived.", "Policy number {} covers it."],
            dice.choice((f"AB-{account[:6]}", f"{account[:3]}-{account[3:8]}", f"Q{account[:2]} {account[2:7]}")),
        ),
        ("MRN", ["Medical record number {} is hers.", "Chart {} is missing a page.", "MRN {} please."], account[:7]),
        (
            "PASSWORD",
            ["The temporary password is {} for today.", "Log in with the password {} please."],
            f"{town[:4]}{number(dice, 2)}!x",
        ),
        (
            "KEY",
            ["Rotate {} right away.", "He pasted {} into the chat."],
            "sk-" + "".join(dice.choice("abcdefghjkmnpqrstuvwxyzABCDEFGH23456789") for _ in range(32)),
        ),
        (
            "ADDRESS",
            ["Ship it to {} on Monday.", "The flat is at {} now.", "We moved from {} in spring."],
            f"{dice.randrange(11, 990)} {dice.choice(STREETS)}"
            + dice.choice(("", f", {town}", f", {town}, OH {number(dice, 5)}")),
        ),
        ("CVV", ["The security code is {} on the back.", "CVV {} please."], number(dice, 3)),
        (
            "PERSON",
            [
                "{} will pick up the keys.",
                "Please transfer me to {}.",
                "I spoke to {} yesterday.",
                "Is {} in the office?",
                "The contract names {} as owner.",
            ],
            name,
        ),
        ("LOCATION", ["She moved to {} in spring.", "Our office in {} is closed."], town),
    ]


def _spoken(dice: random.Random) -> list[tuple[str, list[str], str]]:
    name, town = dice.choice(NAMES).lower(), dice.choice(TOWNS).lower()
    first, last = name.replace("'", "").split()
    say = dice.choice((one_by_one, lambda d: one_by_one(d, "oh"), doubled))
    year, day, month = dice.randrange(1940, 2000), dice.randrange(20), MONTHS[dice.randrange(12)]
    phone, account, social = number(dice, 10), number(dice, 10), number(dice, 9)
    years = f"nineteen {pair(str(year)[2:])}"
    return [
        (
            "CREDIT_CARD",
            ["okay so the card is {}", "yeah it's {} and it's a visa", "you can put it on {} please"],
            dice.choice((in_groups(card(dice), 4, 4, 4, 4, say=say), say(card(dice)), in_pairs(card(dice)))),
        ),
        (
            "CREDIT_CARD",
            ["the card ending in {} was declined", "it's the one that ends in {}"],
            dice.choice((say, in_pairs))(account[:4]),
        ),
        (
            "CVV",
            ["the three digits on the back are {}", "and the security code is {} yes", "c v v {}"],
            say(number(dice, 3)),
        ),
        (
            "EXPIRY",
            ["the expiration is {}", "it expires {} i believe"],
            f"{pair(f'{dice.randrange(1, 13):02}')} {pair(str(dice.randrange(26, 34)))}",
        ),
        (
            "PHONE",
            [
                "my cell is {} if we get cut off",
                "the best number to reach me is {}",
                "just call {} after lunch",
                "um {} is my phone number",
            ],
            dice.choice(
                (
                    in_groups(phone, 3, 3, 4, say=say),
                    say(phone),
                    f"{say(phone[:3])} {say(phone[3:6])} {in_pairs(phone[6:])}",
                    f"eight hundred {say(phone[3:6])} {say(phone[6:])}",
                )
            ),
        ),
        (
            "EMAIL",
            ["you can email me at {}", "it's {} all lower case", "send the receipt to {} please", "yes that's {}"],
            dice.choice(
                (
                    f"{first} dot {last} at gmail dot com",
                    f"{' '.join(first)} at {town} dot org",
                    f"{first} underscore {last} {pair(str(year)[2:])} at hotmail dot co dot uk",
                    f"{first} {last} at outlook dot com",
                    f"{first[0]} dash {last} at mycompany dot net",
                )
            ),
        ),
        (
            "SSN",
            ["my social is {}", "the social security number i have is {}", "it's {} that's my social"],
            dice.choice(
                (
                    in_groups(social, 3, 2, 4, say=say),
                    say(social),
                    f"{say(social[:3])} {pair(social[3:5])} {in_pairs(social[5:])}",
                )
            ),
        ),
        (
            "BANK",
            ["the account number is {}", "routing number {}", "take it from my checking account {}"],
            dice.choice((say(account), in_groups(account, 3, 3, 4, say=say))),
        ),
        (
            "ACCOUNT",
            [
                "my policy number is {}",
                "the order number was {} from last week",
                "customer id {}",
                "the reference is {}",
            ],
            dice.choice(
                (
                    say(account[:6]),
                    f"{dice.choice('bdkm')} {say(account[:6])}",
                    f"{dice.choice('qrt')} {dice.choice('xz')} dash {say(account[:5])}",
                )
            ),
        ),
        ("MRN", ["the medical record number is {}", "patient number {}", "her chart is {}"], say(account[:7])),
        ("PASSPORT", ["the passport number is {}", "on my passport it says {}"], say(account[:9])),
        (
            "LICENSE",
            ["my driver's license is {}", "the plate number is {}"],
            f"{dice.choice('bdk')} {say(account[:7])}",
        ),
        ("PIN", ["my pin is {}", "i think the pin code was {}"], say(account[:4])),
        (
            "DOB",
            ["i was born on {}", "date of birth {}", "my birthday is {}", "the birth date is {} for my son"],
            dice.choice(
                (
                    f"{month} {ORDINALS[day]} {years}",
                    f"the {ORDINALS[day]} of {month} {years}",
                    f"{month} {ORDINALS[day]} two thousand and {ONES[dice.randrange(1, 10)]}",
                )
            ),
        ),
        ("DATE", ["the surgery is on {}", "they admitted her on {}"], f"{month} {ORDINALS[day]}"),
        (
            "IP",
            ["the machine is {}", "try to ping {}"],
            " dot ".join(say(str(dice.randrange(1, 255))) for _ in range(4)),
        ),
        (
            "ADDRESS",
            ["i live at {}", "my address is {}", "deliver to {}"],
            f"{in_pairs(str(dice.randrange(11, 99)))} {dice.choice(STREETS).lower()}"
            + dice.choice(("", f" {town}", f" apartment {ONES[dice.randrange(1, 9)]} {dice.choice('bc')}")),
        ),
        ("ADDRESS", ["the zip is {}", "my postal code is {}"], say(account[:5])),
        ("PASSWORD", ["the password is {}", "my password is capital {}"], f"{' '.join(town[:4])} {say(account[:2])}"),
        (
            "PERSON",
            [
                "my name is {} and i need help",
                "hi this is {} from accounting",
                "is {} available",
                "my husband {} usually pays",
                "the appointment is for {}",
            ],
            name,
        ),
        ("PERSON", ["last name is spelled {}", "you spell it {}"], " ".join(last)),
        ("LOCATION", ["i live in {} now", "we are flying to {} tomorrow"], town),
    ]


def _transcripts(dice: random.Random) -> list[tuple[str, list[str], str]]:
    """As recognisers write it: capitals, digits in pieces, letters with dashes, cues that got lost."""
    name, town = dice.choice(NAMES), dice.choice(TOWNS)
    first, last = name.replace("'", "").split()
    phone, account, social = number(dice, 10), number(dice, 10), number(dice, 9)
    plastic = card(dice)
    return [
        (
            "CREDIT_CARD",
            ["My card is {}.", "Okay, it's {}."],
            dice.choice(
                (
                    f"{plastic[:4]}, {plastic[4:8]}, {say4(plastic[8:12])}, {plastic[12:]}",
                    "-".join(plastic),
                    f"{plastic[:4]}-{plastic[4:8]}-{plastic[8:12]}-{plastic[12:]}",
                    one_by_one(plastic[:4]).capitalize() + ", " + plastic[4:],
                )
            ),
        ),
        (
            "PHONE",
            ["Call me back at {}.", "You can reach me at {}, please."],
            dice.choice(
                (
                    f"{phone[:3]}-{phone[3:6]}-{phone[6:]}",
                    f"{phone[:3]}, {phone[3:6]}, {phone[6:]}",
                    f"{one_by_one(phone[:3])} {phone[3:6]} {phone[6:]}",
                    "-".join(phone),
                )
            ),
        ),
        (
            "SSN",
            ["My social security number is {}.", "Social is {}."],
            dice.choice(
                (
                    f"{social[:3]}, {social[3:5]}, {social[5:]}",
                    f"{social[:3]}-{social[3:5]}-{social[5:]}",
                    "-".join(social),
                )
            ),
        ),
        (
            "EMAIL",
            ["My email is {}.", "Send it to {}, please."],
            dice.choice(
                (
                    f"{first}.{last} at Gmail.com",
                    f"{'-'.join(first.upper())} at {town.lower()}.org",
                    f"{first}_{last} at yahoo.co.uk",
                    f"{first} dot {last} at example.com",
                )
            ),
        ),
        (
            "ACCOUNT",
            ["My member ID is {}.", "The policy is {}."],
            dice.choice((f"M-{'-'.join(account[:6])}", f"ABC-{account[:6]}", f"M{account[:7]}")),
        ),
        (
            "PIN",
            ["My pen is {}.", "The pin is {}, but don't tell anyone."],
            dice.choice((one_by_one(account[:4]), account[:4], "-".join(account[:4]))),
        ),
        (
            "PERSON",
            ["This is {}.", "The last name is {}."],
            dice.choice((last, "-".join(last.upper()))),
        ),
        ("PERSON", ["You're speaking with {} today.", "I need to talk to {} about it."], name),
        (
            "BANK",
            ["Bratting is {}.", "The account number is {}."],
            dice.choice(
                (account[:9], "-".join(account[:9]), f"{account[:3]} {one_by_one(account[3:6])} {account[6:9]}")
            ),
        ),
        (
            "DOB",
            ["I was born on {}.", "Data birth is {}."],
            dice.choice(
                (
                    f"March 3rd, {dice.randrange(1940, 2000)}",
                    f"the 21st of July {dice.randrange(1940, 2000)}",
                    f"{dice.randrange(1, 12)}/{dice.randrange(1, 28)}/{dice.randrange(60, 99)}",
                )
            ),
        ),
        (
            "ADDRESS",
            ["I live at {}.", "The address is {}."],
            f"{dice.randrange(12, 999)} {dice.choice(STREETS)}"
            + dice.choice(("", f", Apartment {dice.randrange(1, 9)}B", f", {town}")),
        ),
    ]


def say4(digits: str) -> str:
    return doubled(digits)


def sentences(rounds: int = 6, seed: int = 14) -> list[Sentence]:
    dice = random.Random(seed)
    made: list[Sentence] = []
    for _ in range(rounds):
        for form, parts in (("written", _written), ("spoken", _spoken), ("heard", _transcripts)):
            for kind, carriers, value in parts(dice):
                made.append(Sentence(dice.choice(carriers).replace("{}", value), form, ((kind, value),)))
    without = (DATA / "redaction_without.txt").read_text().splitlines()
    prose = " ".join((DATA / "redaction_prose.txt").read_text().split())
    return [*made, *(Sentence(text, "none") for text in without), Sentence(prose, "prose")]


def _marked(line: str, form: str) -> Sentence:
    """Return the sentence of a line: what must be hidden stands in braces, names and places with an asterisk."""
    parts = line.replace("}", "{").split("{")
    hidden = [("PERSON" if part.startswith("*") else "ANY", part.removeprefix("*")) for part in parts[1::2]]
    parts[1::2] = [value for _, value in hidden]
    return Sentence("".join(parts), form, tuple(hidden))


def by_hand() -> list[Sentence]:
    """Sentences that nobody made from parts."""
    return [_marked(line, "by hand") for line in (DATA / "redaction_by_hand.txt").read_text().splitlines()]


CALL_FORMS = {"W": "call, written", "S": "call, spoken", "P": PAUSED, "N": "none"}


def calls(*, paused: bool = False) -> list[Sentence]:
    """Sentences of eleven rounds, each written before the recognisers were mended for it; or those that are spoken in
    several utterances, with `PAUSE` between them.
    """
    lines = (DATA / "redaction_calls.txt").read_text().splitlines()
    made = [_marked(line[2:], CALL_FORMS[line[0]]) for line in lines]
    return [sentence for sentence in made if (sentence.form == PAUSED) == paused]


@dataclass
class Score:
    """How much was hidden, of how many: `touched` at all, `whole` with every letter and digit."""

    all: int = 0
    whole: int = 0
    touched: int = 0


def score(sentences: list[Sentence], found: list[list[tuple[int, int]]]) -> tuple[dict[tuple[str, str], Score], float]:
    """By (form, "names" or "structured"), and the share of the words that were hidden and need not be."""
    scores: dict[tuple[str, str], Score] = {}
    words = wrong = 0
    for sentence, spans in zip(sentences, found, strict=True):
        text = sentence.text
        hidden = {at for start, end in spans for at in range(start, end)}
        secret: set[int] = set()
        for span in sentence.spans:
            here = [at for at in range(span["start"], span["end"]) if text[at].isalnum()]
            secret.update(here)
            count = sum(at in hidden for at in here)
            what = "names" if span["type"] in ("PERSON", "LOCATION") else "structured"
            each = scores.setdefault((sentence.form, what), Score())
            each.all += 1
            each.whole += count == len(here)
            each.touched += count > 0
        at = 0
        for word in text.split():
            at = text.index(word, at)
            own = {place for place in range(at, at + len(word)) if text[place].isalnum()}
            words += 1
            wrong += bool(own & hidden) and not own & secret
            at += len(word)
    return scores, wrong / words
