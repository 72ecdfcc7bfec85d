import itertools
import json
import random

import pytest

from antiphon.bench.chat import Target, arrivals, requests
from antiphon.core.errors import CallerError


def test_arrivals_are_a_poisson_process_of_that_rate() -> None:
    times = arrivals(10_000, 50.0, random.Random(1))
    assert times == sorted(times)
    assert times[-1] / 1e9 == pytest.approx(200, rel=0.05)
    gaps = [(after - before) / 1e9 for before, after in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    # Of an exponential, the deviation is the mean; of a steady stream it would be none.
    assert (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 == pytest.approx(mean, rel=0.05)
    assert arrivals(10, 50.0, random.Random(1)) == times[:10]


def test_requests_are_whole_and_take_the_prompts_in_turn() -> None:
    target = Target("http://host:81", "k", "m", max_tokens=9, extra={"temperature": 0})
    one, two, three = requests(target, [[{"role": "user", "content": "é"}], [{"role": "user", "content": "b"}]], 3)
    assert one == three != two
    head, _, body = one.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: host:81\r\nAuthorization: Bearer k\r\n")
    assert head.endswith(b"Content-Length: %d" % len(body))
    assert json.loads(body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "é"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "temperature": 0,
    }


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ws://h", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(CallerError, match="--url"):
        requests(Target(url, "", "m"), [[]], 1)
