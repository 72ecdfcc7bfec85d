"""What budgets and limits cost a call: the processor time to reserve, to say what is left of rates, and to settle.

Processor time, in one thread, with nothing else of a server, so that it can be measured beside other work. A project
has three budgets (money, tokens, requests) and two rates, and a book with prices for input and output tokens.

    python bench/budgets.py --calls 20000 --rounds 7
"""

import argparse
import asyncio
from functools import partial
from statistics import median
from time import process_time_ns

from antiphon.calls import demands
from antiphon.core.call import Call
from antiphon.core.identity import NO_ORGANISATION, USUAL_SCOPES, Principal
from antiphon.core.policy import Policy
from antiphon.core.specs import GenerateSpec, Sampling
from antiphon.core.usage import Dimension, Meter
from antiphon.metering.allowances import Allowances
from antiphon.metering.pricing.book import Series
from antiphon.metering.pricing.parse import parse_book
from antiphon.metering.tally import Charged
from antiphon.metering.tariff import Use
from antiphon.testing import FakeClock, FakeLedger

BOOK = b"""
book = "list"
version = "1"
currency = "USD"
from = 2020-01-01
rounding = { mode = "half_up", per = "session" }
[[price]]
id = "input"
dimension = ["llm.input_tokens", "llm.cached_input_tokens"]
amount = "1.25"
per = 1_000_000
[[price]]
id = "output"
dimension = ["llm.output_tokens", "llm.reasoning_tokens"]
amount = "10"
per = 1_000_000
"""
BUDGETS = "all money 1000000 month\ntokens tokens 1000000000000 day\ncalls requests 1000000000000 day"
LIMITS = "requests_per_minute=1000000000 tokens_per_minute=1000000000000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.calls, arguments.rounds))


async def measure(calls: int, rounds: int) -> None:
    policy, series = Policy(budgets=BUDGETS, limits=LIMITS), Series([parse_book(BOOK, "bench")])
    clock, projects = FakeClock(), {"acme"}
    allowances = Allowances(
        *(lambda project: policy, lambda: projects, lambda organisation: NO_ORGANISATION, lambda project: series),
        *(FakeLedger(), clock, ()),
    )
    await allowances.start()
    spec = GenerateSpec("instant", "Say thirty-two words, whichever you like.", sampling=Sampling(max_tokens=64))
    call, use = Call("1", Principal("acme", "k", USUAL_SCOPES), "openai", spec), Use("instant", "whole", "openai")
    used = {Meter(Dimension.LLM_INPUT_TOKENS): 12, Meter(Dimension.LLM_OUTPUT_TOKENS): 32}
    demand = partial(demands.of_language, spec)
    took = []
    for _ in range(rounds):
        begun_ns = process_time_ns()
        for _ in range(calls):
            allowance = allowances.open(call, use, demand)
            assert allowance is not None
            allowance.rates()
            allowance.charge(used)
            allowance.leave()
            allowance.settle(Charged(used, clock.unix_ms(), clock.unix_ms()))
        took.append((process_time_ns() - begun_ns) / calls / 1000)
    print(f"{median(took):.1f} us of processor time a call (least {min(took):.1f}, most {max(took):.1f})")


if __name__ == "__main__":
    main()
