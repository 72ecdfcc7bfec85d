"""Phrase sets and custom classes, from their making to their end, and calls that refer to them, on fakes."""

import json
from base64 import b64decode
from typing import Any

import pytest
from google_office import NAME, PARENT, V2, GoogleOffice, Refused

from antiphon.surfaces.google import messages
from antiphon.surfaces.google.status import Code

SET, CLASS = f"{PARENT}/phraseSets/names", f"{PARENT}/customClasses/people"
PHRASES = {"phrases": [{"value": "Godot", "boost": 5}, {"value": f"dear ${{{CLASS}}}"}]}
PEOPLE = {"items": [{"value": "Vladimir"}, {"value": "Estragon"}]}
NOUNS = [
    ("PhraseSet", "PhraseSets", "phrase_set", SET, PHRASES),
    ("CustomClass", "CustomClasses", "custom_class", CLASS, PEOPLE),
]


@pytest.fixture
def office() -> GoogleOffice:
    return GoogleOffice()


async def change(office: GoogleOffice, verb: str, noun: str, **fields: Any) -> Any:
    """The resource of an operation that is done."""
    operation = await office.call(f"{V2}/{verb}{noun}", **fields)
    assert operation.done
    metadata = messages.read(f"{V2}.OperationMetadata", operation.metadata.value)
    field = {"PhraseSet": "phrase_set", "CustomClass": "custom_class"}[noun]
    assert metadata.WhichOneof("request") == f"{verb.lower()}_{field}_request"
    assert operation.response.type_url == f"type.googleapis.com/{V2}.{noun}"
    return messages.read(f"{V2}.{noun}", operation.response.value)


@pytest.mark.parametrize(("noun", "plural", "field", "name", "given"), NOUNS)
async def test_from_its_making_to_its_end(
    office: GoogleOffice, noun: str, plural: str, field: str, name: str, given: dict[str, Any]
) -> None:
    id = {f"{field}_id": name.rpartition("/")[2]}
    made = await change(office, "Create", noun, parent=PARENT, **{field: given | {"display_name": "Mine"}}, **id)
    assert (made.name, made.display_name, made.state) == (name, "Mine", 2)
    assert await office.call(f"{V2}/Get{noun}", f"{V2}.{noun}", name=name) == made
    listed = await office.call(f"{V2}/List{plural}", f"{V2}.List{plural}Response", parent=PARENT)
    assert list(getattr(listed, listed.DESCRIPTOR.fields[0].name)) == [made]
    with pytest.raises(Refused) as taken:
        await office.call(f"{V2}/Create{noun}", parent=PARENT, **{field: given}, **id)
    assert taken.value.code is Code.ALREADY_EXISTS
    updated = await change(
        office,
        "Update",
        noun,
        update_mask={"paths": ["display_name"]},
        **{field: {"name": name, "display_name": "Ours"}},
    )
    assert (updated.display_name, updated.etag != made.etag) == ("Ours", True)
    content = "phrases" if noun == "PhraseSet" else "items"
    assert getattr(updated, content) == getattr(made, content)
    deleted = await change(office, "Delete", noun, name=name)
    assert (deleted.state, deleted.HasField("expire_time")) == (4, True)
    assert (await change(office, "Undelete", noun, name=name)).state == 2
    office.keys.project = "other"
    with pytest.raises(Refused) as elsewhere:
        await office.call(f"{V2}/Get{noun}", f"{V2}.{noun}", name=name)
    assert elsewhere.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("noun", "given"),
    [
        ("PhraseSet", {"phrase_set": {"phrases": [{"value": "a" * 101}]}}),
        ("CustomClass", {"custom_class": {"items": [{"value": "a"}] * 501}}),
        ("CustomClass", {"custom_class": {"items": [{"value": "a" * 101}]}}),
        ("PhraseSet", {"phrase_set": {"display_name": "a" * 64}}),
        ("PhraseSet", {"phrase_set_id": "A"}),
    ],
)
async def test_what_is_too_much_is_not_stored(office: GoogleOffice, noun: str, given: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        await office.call(f"{V2}/Create{noun}", parent=PARENT, **given)
    assert refused.value.code is Code.INVALID_ARGUMENT


async def test_a_recognizer_may_refer_to_what_there_is_not_yet_and_its_calls_may_not(office: GoogleOffice) -> None:
    """And a batch has its own copy of what it refers to."""
    config = {
        "model": "tiny",
        "explicit_decoding_config": {"encoding": "LINEAR16", "sample_rate_hertz": 16_000},
        "adaptation": {"phrase_sets": [{"phrase_set": SET}]},
    }
    mine = NAME.replace("/_", "/mine")
    made = await office.call(
        f"{V2}/CreateRecognizer",
        parent=PARENT,
        recognizer_id="mine",
        recognizer={"default_recognition_config": config},
    )
    assert made.done
    batch = {"recognizer": mine, "files": [{"uri": "https://e.com/a"}]}
    with pytest.raises(Refused) as refused:
        await office.call(f"{V2}/BatchRecognize", **batch)
    assert refused.value.code is Code.NOT_FOUND
    await change(office, "Create", "PhraseSet", parent=PARENT, phrase_set_id="names", phrase_set=PHRASES)
    await change(office, "Create", "CustomClass", parent=PARENT, custom_class_id="people", custom_class=PEOPLE)
    operation = await office.call(f"{V2}/BatchRecognize", **batch)
    metadata = messages.read(f"{V2}.OperationMetadata", operation.metadata.value)
    assert not metadata.batch_recognize_request.HasField("config")
    (lines,) = office.passing._data.values()
    item = messages.read(f"{V2}.BatchRecognizeRequest", b64decode(json.loads(lines)["request"]))
    (inline,), (people,) = item.config.adaptation.phrase_sets, item.config.adaptation.custom_classes
    assert [phrase.value for phrase in inline.inline_phrase_set.phrases] == ["Godot", f"dear ${{{CLASS}}}"]
    assert (people.name, [each.value for each in people.items]) == (CLASS, ["Vladimir", "Estragon"])
