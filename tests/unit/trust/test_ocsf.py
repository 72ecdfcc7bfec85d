"""Events of OCSF: every action is one, with what its class requires."""

import pytest

from antiphon.core.audit import Action, AuditRecord, LoggedRecord, Outcome, canonical
from antiphon.trust.ocsf import event

ALL = {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}
REQUIRED = {
    6003: {"actor", "api", "src_endpoint"}, 3002: {"user", "service"}, 3001: {"user"}, 3004: {"entity"},
    1008: {"log_name"}, 6002: {"app"},
}  # fmt: skip


def event_of(record):
    return event(LoggedRecord(7, bytes(32), canonical(record)), "example.com/log")


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("outcome", Outcome)
def test_every_action_is_an_event_of_a_class(action, outcome):
    made = event_of(AuditRecord(5, action, outcome, "k1", "acme", "x", "", "192.0.2.7", "r1", "p1", (("times", 3),)))
    assert made.keys() >= ALL | REQUIRED[made["class_uid"]]
    assert made["type_uid"] == made["class_uid"] * 100 + made["activity_id"]
    assert made["category_uid"] == made["class_uid"] // 1000
    assert made["status_id"] == (2 if outcome in (Outcome.REFUSED, Outcome.FAILED) else 1)
    assert made["metadata"]["uid"] == "example.com/log/7"
    assert (made["src_endpoint"], made["unmapped"]["times"]) == ({"ip": "192.0.2.7"}, 3)


def test_who_is_not_known_failed_to_authenticate():
    refused = AuditRecord(5, Action.ACCESS, Outcome.REFUSED, object="/v1/listen", reason="unauthenticated")
    made = event_of(refused)
    assert (made["class_uid"], made["activity_id"], made["user"]) == (3002, 1, {"name": "unknown"})
    assert event_of(refused._replace(reason="forbidden"))["class_uid"] == 6003
    assert event_of(refused._replace(address="192.0.2.0/24"))["src_endpoint"] == {"name": "192.0.2.0/24"}


def test_one_whose_time_is_over_is_none():
    assert event(LoggedRecord(7, bytes(32), None), "example.com/log") is None
