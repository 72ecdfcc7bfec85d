import pytest

from antiphon.core.budgets import Budget, Limits, Measure, Window, canonical_budgets, parse_budgets, parse_limits
from antiphon.core.errors import CallerError
from antiphon.core.policy import Policy, parse_policy, read_policy

CREDIT = "credit-1 money 100.00 once from=2026-12-01T00:00:00Z until=2027-12-01T00:00:00Z"


@pytest.mark.parametrize(
    ("line", "budget"),
    [
        ("monthly money 50.00 month", Budget("monthly", Measure.MONEY, 50_000_000_000, Window.MONTH)),
        ("a audio_ms 36000 day soft key=K1", Budget("a", Measure.AUDIO_MS, 36_000, Window.DAY, False, "K1")),
        (
            CREDIT,
            Budget(
                *("credit-1", Measure.MONEY, 100_000_000_000, Window.ONCE),
                since_unix_ms=1_796_083_200_000,
                until_unix_ms=1_827_619_200_000,
            ),
        ),
        ("nano money 0.000000001 week", Budget("nano", Measure.MONEY, 1, Window.WEEK)),
    ],
)
def test_a_line_is_a_budget_and_back(line, budget):
    assert parse_budgets(line) == (budget,)
    assert str(budget) == line


@pytest.mark.parametrize(
    "line",
    [
        "monthly money 50.00",
        "Monthly money 50 month",
        "m euros 50 month",
        "m money 0.0000000001 month",
        "m tokens 1.5 day",
        "m tokens -1 day",
        "m tokens NaN day",
        "m tokens 1e9999999 day",
        "m money 1e999999 day",
        "m tokens 1 year",
        "m tokens 1 day hard",
        "m tokens 1 day key=",
        "m tokens 1 day key=a key=b",
        "m tokens 1 day from=2026-12-01",
        "m tokens 1 once from=2026-12-02 until=2026-12-01",
        "m tokens 1 day\nm tokens 2 week",
    ],
)
def test_what_is_no_budget_is_refused(line):
    with pytest.raises(ValueError):  # noqa: PT011
        parse_budgets(line)
    with pytest.raises(CallerError):
        parse_policy({"budgets": line})


def test_limits_are_of_a_project_or_a_key():
    text = "requests_per_minute=60 calls=10\nkey=K1 tokens_per_minute=9000 live_streams=0"
    own, key = parse_limits(text)
    assert own == Limits(requests_per_minute=60, calls=10)
    assert key == Limits("K1", tokens_per_minute=9000, live_streams=0)
    assert f"{own}\n{key}" == text


@pytest.mark.parametrize(
    "line",
    [
        *("", "calls=-1", "calls=x", "calls=٣", "calls=٣ live_streams=2", "key=K1", "rpm=1"),
        *("calls=1 calls=2", "calls=1\ncalls=2"),
    ],
)
def test_what_is_no_limit_is_refused(line):
    if line:
        with pytest.raises(ValueError):  # noqa: PT011
            parse_limits(line)
    else:
        assert parse_limits(line) == ()


def test_a_policy_keeps_them_in_one_form_and_what_it_cannot_read_allows_nothing():
    assert canonical_budgets(["monthly  money 50 month"]) == "monthly money 50.00 month"
    assert parse_policy({"budgets": ["monthly money 50 month"]}) == {"budgets": "monthly money 50.00 month"}
    policy, odd = read_policy({"budgets": "what", "limits": 7})
    assert set(odd) == {"budgets", "limits"}
    assert parse_budgets(policy.budgets)[0].amount == 0
    assert parse_limits(policy.limits) == (Limits(calls=0),)
    assert Policy().budgets == Policy().limits == ""
