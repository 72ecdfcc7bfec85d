"""What the configuration says of exports, and what becomes of it."""

import pytest

from antiphon.config import Config, Invalid, load
from antiphon.core.exports import Cut
from antiphon.core.usage import Dimension
from antiphon.exporting import memory_ms, open_exporting, targets
from antiphon.metering.export.outbox import Start
from antiphon.metering.export.receivers import DAY_MS, HOUR_MS
from antiphon.metering.export.stripe import Stripe
from antiphon.metering.export.webhook import Webhook
from antiphon.stores import open_exports
from antiphon.testing import FakeClock, FakeLedger

KEYS = {
    "STRIPE_API_KEY": "sk_test_1",
    "HOOK": "whsec_" + "A" * 32,
    "BAD": "whsec_1",
    "ODD": "a b",
    "REPORTS": "whsec_x",
}


def configured(tmp_path, text):
    path = tmp_path / "antiphon.toml"
    path.write_text(text)
    return load(path, {})


def made(tmp_path, text, environment=KEYS):
    return targets(configured(tmp_path, text), environment, lambda project: f"cus_{project}")


def test_stripe_needs_only_its_key(tmp_path):
    [target] = made(tmp_path, '[export.stripe]\nkind = "stripe"')
    assert (target.name, target.interval_ms, target.start) == ("stripe", 300_000, Start.NOW)
    assert isinstance(target.receiver, Stripe)
    assert (target.receiver.api_key, target.receiver.customer("acme")) == ("sk_test_1", "cus_acme")
    assert len(target.metering.meters) == len(Dimension)
    assert target.metering.by == ()


def test_everything_that_can_be_said_of_meters(tmp_path):
    [target] = made(
        tmp_path,
        """
[export.out]
kind = "openmeter"
start = "beginning"
interval_s = 5
by = ["model"]
without = ["tts.audio_ms"]
[export.out.meters]
large_input = { dimension = "llm.input_tokens", model = "large*", surface = "openai", feature = "stream" }
""",
    )
    [meter] = target.metering.meters
    assert (meter.name, meter.model, meter.surface, meter.feature) == ("large_input", "large*", "openai", "stream")
    assert (target.start, target.interval_ms) == (Start.BEGINNING, 5000)
    assert target.metering.without == {Dimension.TTS_AUDIO_MS}
    assert target.metering.by == ("model",)


def test_a_webhook_has_the_limits_that_are_said(tmp_path):
    text = """
[export.lago]
kind = "webhook"
url = "https://lago/api/v1/events/batch"
api_key_env = "STRIPE_API_KEY"
secret_env = "HOOK"
events = 7
envelope = "events"
identifiers_h = 10
past_days = 3
[export.lago.fields]
transaction_id = "id"
"properties.value" = "value"
"""
    [target] = made(tmp_path, text)
    receiver = target.receiver
    assert isinstance(receiver, Webhook)
    assert (receiver.limits.events, receiver.limits.memory_ms, receiver.limits.past_ms) == (7, 9 * HOUR_MS, 3 * DAY_MS)
    assert (receiver.token, len(receiver.secret), receiver.envelope) == ("sk_test_1", 24, "events")
    assert memory_ms(configured(tmp_path, text)) == {"lago": 9 * HOUR_MS}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[export.Stripe]\nkind = "stripe"', "export"),
        (f'[export.{"a" * 25}]\nkind = "stripe"', "export"),
        (f'[export.{"a-" * 20}a]\nkind = "stripe"', "export: 'a-a-a-"),
        ('[export.s]\nkind = "paddle"', "export"),
        ('[export.s]\nkind = "stripe"\napi_key_env = "NOT_SET"', "export.s.api_key_env"),
        ('[export.s]\nkind = "stripe"\napi_key_env = "ODD"', "export.s.api_key_env"),
        ('[export.s]\nkind = "stripe"\nurl = "api.stripe.com"', "export.s.url"),
        ('[export.s]\nkind = "stripe"\n[export.s.meters."a b"]\ndimension = "stt.audio_ms"', "export.s.meters"),
        ('[export.s]\nkind = "stripe"\n[export.s.meters.a]\ndimension = "stt.hours"', "export"),
        (
            '[export.s]\nkind = "stripe"\nwithout = ["stt.audio_ms"]\n[export.s.meters.a]\ndimension = "stt.audio_ms"',
            "export.s.without",
        ),
        ('[export.s]\nkind = "webhook"\nurl = "http://x"\nsecret_env = "BAD"', "export.s.secret_env"),
        ('[export.s]\nkind = "webhook"\nurl = "http://x"\nfields = { a = "colour" }', "export.s.fields"),
    ],
)
def test_a_setting_without_sense_is_named(tmp_path, text, named):
    with pytest.raises(Invalid, match=f"^setting {named}"):
        made(tmp_path, text)


async def test_without_exports_there_is_no_file_and_nothing_runs(tmp_path):
    exporting = open_exporting(Config(), {}, tmp_path, FakeLedger(), str, FakeClock())
    assert (exporting.outboxes, exporting.hook, exporting.exports) == ((), None, None)
    assert await exporting.control.status() == []
    assert list(tmp_path.iterdir()) == []
    await exporting.close()


async def test_what_was_exported_is_shown_when_it_is_not_configured_any_more(tmp_path):
    exports = open_exports(tmp_path, make=True)
    await exports.cut("out", None, Cut(0, "", "o"), (), 0)
    await exports.close()
    exporting = open_exporting(Config(), {}, tmp_path, FakeLedger(), str, FakeClock())
    [status] = await exporting.control.status()
    assert (status["target"], status["configured"]) == ("out", False)
    await exporting.close()


async def test_an_outbox_that_nothing_rests_on_may_be_unreadable(tmp_path):
    (tmp_path / "exports.db").write_bytes(b"x" * 5000)
    exporting = open_exporting(Config(), {}, tmp_path, FakeLedger(), str, FakeClock())
    assert await exporting.control.status() == []
    await exporting.close()


async def test_reports_are_taken_where_there_is_a_secret(tmp_path):
    text = '[export.s]\nkind = "stripe"\nwebhook_secret_env = "REPORTS"\n[export.plain]\nkind = "stripe"'
    clock = FakeClock()
    exporting = open_exporting(configured(tmp_path, text), KEYS, tmp_path, FakeLedger(), str, clock)
    assert [outbox.name for outbox in exporting.outboxes] == ["s", "plain"]
    assert exporting.hook is not None
    await exporting.close()
    with pytest.raises(Invalid, match="webhook_secret_env"):
        open_exporting(configured(tmp_path, text), {"STRIPE_API_KEY": "x"}, tmp_path, FakeLedger(), str, clock)
