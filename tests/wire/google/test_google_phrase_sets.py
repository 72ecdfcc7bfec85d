"""Phrase sets and custom classes, from their making to their end, and calls that refer to them, on fakes."""

import json
from base64 import b64decode
from typing import Any

import pytest
from google_office import NAME, PARENT, V1, V2, GoogleOffice, Refused

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


@pytest.mark.parametrize(("noun", "plural", "field", "name", "given"), NOUNS)
async def test_those_of_v1_are_the_same_with_fewer_fields(
    office: GoogleOffice, noun: str, plural: str, field: str, name: str, given: dict[str, Any]
) -> None:
    one, several = f"{V1}.{noun}", "PhraseSet" if noun == "PhraseSet" else plural  # as Google names them

    async def call(verb: str, answer: str = one, **fields: Any) -> Any:
        return await office.call(f"{V1}/{verb}", answer, **fields)

    async def refused(verb: str, **fields: Any) -> Code:
        with pytest.raises(Refused) as refusal:
            await call(verb, **fields)
        return refusal.value.code

    create = {"parent": PARENT, f"{field}_id": name.rpartition("/")[2], field: given}
    for wrong in ({f"{field}_id": ""}, {f"{field}_id": "a"}, {"parent": "p"}):
        assert await refused(f"Create{noun}", **create | wrong) is Code.INVALID_ARGUMENT
    made = await call(f"Create{noun}", **create)
    assert made.name == name
    if noun == "CustomClass":
        assert made.custom_class_id == "people"
    assert await refused(f"Create{noun}", **create) is Code.ALREADY_EXISTS
    await change(office, "Update", noun, **{field: {"name": name, "display_name": "Of v2"}})
    content = "phrases" if noun == "PhraseSet" else "items"
    update = {field: {"name": name, content: [{"value": "Pozzo"}]}, "update_mask": {"paths": [content]}}
    assert [each.value for each in getattr(await call(f"Update{noun}", **update), content)] == ["Pozzo"]
    for wrong in ("display_name", "name"):
        assert await refused(f"Update{noun}", **update | {"update_mask": {"paths": [wrong]}}) is Code.INVALID_ARGUMENT
    as_v2 = await office.call(f"{V2}/Get{noun}", f"{V2}.{noun}", name=name)
    assert (as_v2.display_name, [each.value for each in getattr(as_v2, content)]) == ("Of v2", ["Pozzo"])
    await call(f"Create{noun}", **create | {f"{field}_id": "Zwei"})
    listed = await call(f"List{several}", f"{V1}.List{several}Response", parent=PARENT, page_size=1)
    rest = {"parent": PARENT, "page_token": listed.next_page_token}
    more = await call(f"List{several}", f"{V1}.List{several}Response", **rest)
    assert {
        each.name
        for page in (listed, more)
        for each in getattr(page, f"{field}s" if noun == "PhraseSet" else f"{field}es")
    } == {
        name,
        name.rpartition("/")[0] + "/Zwei",
    }
    await call(f"Delete{noun}", "google.protobuf.Empty", name=name)
    for verb in ("Get", "Delete"):
        assert await refused(f"{verb}{noun}", name=name) is Code.NOT_FOUND
    assert await refused(f"Update{noun}", **update) is Code.NOT_FOUND
    with pytest.raises(Refused):
        await office.call(f"{V2}/Undelete{noun}", name=name)
    assert (await call(f"Create{noun}", **create)).name == name
    await change(office, "Delete", noun, name=name)
    assert await refused(f"Get{noun}", name=name) is Code.NOT_FOUND


async def test_those_of_v1_over_rest(office: GoogleOffice) -> None:
    base = f"/v1/{PARENT}/phraseSets"
    made = await office.rest("POST", base, {"phraseSetId": "names", "phraseSet": {"phrases": [{"value": "Godot"}]}})
    assert made == {"name": SET, "phrases": [{"value": "Godot"}]}
    updated = await office.rest("PATCH", f"/v1/{SET}", {"boost": 5}, updateMask="boost")
    assert updated == made | {"boost": 5}
    assert await office.rest("GET", base, pageSize="5") == {"phraseSets": [updated]}
    config = {"languageCode": "en-US", "adaptation": {"phraseSetReferences": [SET]}, "model": "tiny"}
    begun = {"config": config, "audio": {"uri": "https://e.com/a"}}
    await office.rest("POST", "/v1/speech:longrunningrecognize", begun)
    (lines,) = office.passing._data.values()
    item = messages.read(f"{V1}.LongRunningRecognizeRequest", b64decode(json.loads(lines)["request"]))
    (inline,) = item.config.adaptation.phrase_sets
    assert ([phrase.value for phrase in inline.phrases], list(item.config.adaptation.phrase_set_references)) == (
        ["Godot"],
        [],
    )
    assert await office.rest("DELETE", f"/v1/{SET}") == {}
    with pytest.raises(Refused):
        await office.rest("POST", "/v1/speech:longrunningrecognize", begun)
