"""A second computation of statements, for tests: slow, plain, in decimals, from single entries. It shares nothing with
the first but the entries.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext

from antiphon.core.entry import Entry, EntryKind

NANO = Decimal(10) ** 9

BOOK = """
book = "list"
version = "1"
currency = "USD"
from = 2025-01-01
rounding = { mode = "half_up", per = "SPAN" }
not_charged = ["tts.audio_ms"]
included = ["keyterm"]

[[price]]
id = "live"
dimension = "stt.audio_ms"
feature = "live"
amount = "0.0077"
per = "minute"
increment = "second"

[[price]]
id = "recording"
dimension = "stt.audio_ms"
feature = "recording"
tiers = [{ up_to = 3_600_000, amount = "0" }, { up_to = 9_000_000, amount = "0.024" }, { amount = "0.015" }]
per = "minute"
minimum = 15_000
increment = "second"
channels = "once"

[[price]]
id = "redact"
add_on = "redact"
dimension = "stt.audio_ms"
amount = "0.0020"
per = "minute"

[[price]]
id = "diarize"
add_on = "diarize"
dimension = "stt.audio_ms"
amount = "0.11"
per = "hour"
increment = "minute"

[[price]]
id = "input"
dimension = "llm.input_tokens"
amount = "1.25"
per = 1_000_000

[[price]]
id = "output"
dimension = ["llm.output_tokens", "llm.reasoning_tokens"]
model = "small*"
amount = "10"
per = 1_000_000

[[price]]
id = "output-large"
dimension = ["llm.output_tokens", "llm.reasoning_tokens"]
amount = "37"
per = 1_000_000

[[price]]
id = "speech"
dimension = "tts.characters"
factor = "1/2"
increment = 1
amount = "0.10"
per = 1_000
minimum_charge = "0.0003"

[override.acme]
multiply = "0.9"
prices = { live = { amount = "0.0061" } }
"""


@dataclass(frozen=True)
class Rule:
    amount: str = ""
    per: int = 1
    least: int = 0
    step: int = 0
    factor: str = "1"
    once: bool = False
    tiers: tuple[tuple[int | None, str], ...] = ()
    at_least: str = "0"


RULES = {
    "live": Rule("0.0061", 60_000, step=1_000),
    "recording": Rule(
        "", 60_000, 15_000, 1_000, once=True, tiers=((3_600_000, "0"), (9_000_000, "0.0216"), (None, "0.0135"))
    ),
    "live redact": Rule("0.0018", 60_000, step=1_000),
    "recording redact": Rule("0.0018", 60_000, 15_000, 1_000, once=True),
    "diarize": Rule("0.099", 3_600_000, step=60_000),
    "input": Rule("1.125", 1_000_000),
    "output": Rule("9", 1_000_000),
    "output-large": Rule("33.3", 1_000_000),
    "speech": Rule("0.09", 1_000, step=1, factor="0.5", at_least="0.00027"),
}


def rules_of(dimension: str, model: str, feature: str) -> list[tuple[str, Rule]]:
    """The price's id, and its rule."""
    base, *add_ons = feature.split("+")
    if dimension == "stt.audio_ms":
        more = [(add_on, RULES.get(f"{base} {add_on}", RULES.get(add_on))) for add_on in add_ons if add_on != "keyterm"]
        return [(base, RULES[base]), *((name, rule) for name, rule in more if rule is not None)]
    if dimension == "llm.input_tokens":
        return [("input", RULES["input"])]
    if dimension in ("llm.output_tokens", "llm.reasoning_tokens"):
        id = "output" if model.startswith("small") else "output-large"
        return [(id, RULES[id])]
    return [("speech", RULES["speech"])] if dimension == "tts.characters" else []


def billable(rule: Rule, amount: int) -> Decimal:
    quantity = Decimal(amount) * Decimal(rule.factor)
    quantity = max(quantity, Decimal(rule.least))
    if rule.step:
        steps = quantity / rule.step
        quantity = steps.to_integral_value(rounding="ROUND_CEILING") * rule.step
    return quantity


def cost(rule: Rule, quantity: Decimal) -> Decimal:
    """In nano-units, of the first so many."""
    if not rule.tiers:
        return quantity * Decimal(rule.amount) * NANO / rule.per
    total, below = Decimal(0), Decimal(0)
    for up_to, amount in rule.tiers:
        top = quantity if up_to is None else min(quantity, Decimal(up_to))
        total += max(top - below, Decimal(0)) * Decimal(amount) * NANO / rule.per
        below = Decimal(up_to or 0)
    return total


def whole(exact: Decimal) -> int:
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def total(entries: Sequence[tuple[Entry, int]], starts: Sequence[int], known: int, span: str) -> int:
    """What all sessions cost that had closed by a time, by what was known then: each month, which begin at `starts`, by
    itself. Each entry comes with the time from which on it counts.
    """
    with localcontext(prec=60):
        by_session: dict[str, list[Entry]] = defaultdict(list)
        closed: dict[str, int] = {}
        for entry, counts in entries:
            if counts >= known:
                continue
            if entry.kind in (EntryKind.COMPLETED, EntryKind.ABANDONED):
                closed[entry.session] = counts
            else:
                by_session[entry.corrects.session if entry.corrects else entry.session].append(entry)
        seen: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
        sums: dict[tuple[object, ...], Decimal] = defaultdict(Decimal)
        for session, at in sorted(closed.items(), key=lambda each: (each[1], each[0])):
            month = bisect_right(starts, at)
            for id, exact in _session(by_session[session], month, seen):
                day = at // 86_400_000
                sums[{"session": (id, session), "day": (id, day), "invoice": (id, month)}[span]] += exact
        return sum(map(whole, sums.values()))


def _session(entries: Sequence[Entry], month: int, seen: dict[tuple[int, str], Decimal]) -> list[tuple[str, Decimal]]:
    amounts: dict[tuple[str, str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for entry in entries:
        amounts[entry.quantity.dimension.value, entry.model, entry.feature][entry.channel] += entry.quantity.amount
    costs = []
    for (dimension, model, feature), channels in sorted(amounts.items()):
        for id, rule in rules_of(dimension, model, feature):
            first = rules_of(dimension, model, feature)[0][1]
            charged = [max(channels.values())] if first.once else channels.values()
            for amount in charged:
                if amount > 0:
                    quantity = billable(rule, amount)
                    exact = cost(rule, seen[month, id] + quantity) - cost(rule, seen[month, id])
                    seen[month, id] += quantity
                    costs.append((id, max(exact, Decimal(rule.at_least) * NANO)))
    return costs
