import uuid

import pytest

from antiphon.core.entry import MAX_INTEGER, MAX_TAGS, EntryKind, Reference
from antiphon.core.usage import Dimension, Quantity
from antiphon.stores.sqlite.ledger_schema import COLUMNS, from_row, to_row

REFERENCE = Reference(str(uuid.UUID(int=9)), 3)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tags": ("a", 'ü"[]'), "channel": 7, "feature": ""},
        {"kind": EntryKind.COMPLETED, "amount": 0},
        {"kind": EntryKind.CORRECTION, "amount": -5, "corrects": REFERENCE},
        {"amount": MAX_INTEGER},
    ],
)
def test_an_entry_survives_its_row(make_entry, fields):
    entry = make_entry(**fields)
    assert from_row(to_row(entry, "a")[: len(COLUMNS)]) == entry


@pytest.mark.parametrize(
    "fields",
    [
        {"session": "not-a-uuid"},
        {"session": str(uuid.UUID(int=10)).upper()},
        {"sequence": -1},
        {"sequence": True},
        {"at_unix_ms": 1.5},
        {"channel": -1},
        {"amount": -1},
        {"amount": 1.0},
        {"amount": MAX_INTEGER + 1},
        {"kind": EntryKind.COMPLETED, "amount": 1},
        {"kind": EntryKind.ABANDONED, "amount": 1},
        {"kind": EntryKind.CORRECTION, "amount": -1},
        {"corrects": REFERENCE},
        {"project": ""},
        {"tags": ("x",) * (MAX_TAGS + 1)},
        {"tags": ("x" * 1_000,)},
        {"tags": ("\ud800",)},
        {"feature": "\udfff"},
    ],
)
def test_what_is_not_an_entry_is_refused(make_entry, fields):
    with pytest.raises(ValueError):  # noqa: PT011 - the reason is in the message, the class is the contract
        make_entry(**fields)


def test_a_quantity_keeps_its_unit(make_entry):
    assert make_entry(amount=7).quantity == Quantity(Dimension.STT_AUDIO_MS, 7)
    assert make_entry(sequence=4).key == ("default", str(uuid.UUID(int=1)), 4)
