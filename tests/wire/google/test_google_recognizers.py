"""Recognizers, from their making to their end, on a fake of the store."""

from typing import Any

import pytest
from google_office import PARENT, RAW, V2, GoogleOffice, Refused

from antiphon.core.stores import MAX_RESOURCES
from antiphon.surfaces.google.messages import read
from antiphon.surfaces.google.status import Code

MINE = f"{PARENT}/recognizers/mine"
DAY_MS = 86_400_000
ACTIVE, DELETED = 2, 4
METADATA, RECOGNIZER = f"{V2}.OperationMetadata", f"{V2}.Recognizer"


@pytest.fixture
def office() -> GoogleOffice:
    return GoogleOffice()


async def changed(office: GoogleOffice, method: str, **fields: Any) -> Any:
    """The recognizer of an operation that is done."""
    operation = await office.call(f"{V2}/{method}Recognizer", **fields)
    assert operation.done
    metadata = read(METADATA, operation.metadata.value)
    assert metadata.method == f"{V2}.Speech.{method}Recognizer"
    assert metadata.progress_percent == 100
    assert metadata.WhichOneof("request") == f"{method.lower()}_recognizer_request"
    assert operation.response.type_url == f"type.googleapis.com/{RECOGNIZER}"
    return read(RECOGNIZER, operation.response.value)


async def made(office: GoogleOffice, id: str = "mine", **fields: Any) -> Any:
    given = {"default_recognition_config": RAW} | fields
    return await changed(office, "Create", parent=PARENT, recognizer_id=id, recognizer=given)


async def got(office: GoogleOffice, name: str = MINE) -> Any:
    return await office.call(f"{V2}/GetRecognizer", RECOGNIZER, name=name)


async def refusal(office: GoogleOffice, method: str, **fields: Any) -> Code:
    with pytest.raises(Refused) as refused:
        await office.call(f"{V2}/{method}", f"{V2}.ListRecognizersResponse", **fields)
    return refused.value.code


async def test_one_is_made_and_read(office: GoogleOffice) -> None:
    one = await made(office, display_name="Mine", annotations={"team": "a"}, uid="x", etag="y", state=DELETED)
    assert (one.name, one.display_name, one.state, dict(one.annotations)) == (MINE, "Mine", ACTIVE, {"team": "a"})
    assert one.create_time.ToMilliseconds() == one.update_time.ToMilliseconds() == office.clock.unix_ms()
    assert one.uid not in ("", "x")
    assert one.etag not in ("", "y")
    assert await got(office) == one
    assert await refusal(office, "CreateRecognizer", parent=PARENT, recognizer_id="mine") is Code.ALREADY_EXISTS
    office.keys.project = "other"
    assert await refusal(office, "GetRecognizer", name=MINE) is Code.NOT_FOUND
    assert (await made(office)).uid != one.uid


async def test_a_name_may_be_left_to_the_server(office: GoogleOffice) -> None:
    one = await made(office, "")
    assert (await got(office, one.name)).name == one.name


async def test_what_is_only_tried_is_not_stored(office: GoogleOffice) -> None:
    tried = {"parent": PARENT, "recognizer_id": "mine", "recognizer": {"display_name": "A"}, "validate_only": True}
    assert (await changed(office, "Create", **tried)).display_name == "A"
    assert await refusal(office, "GetRecognizer", name=MINE) is Code.NOT_FOUND
    before = await made(office)
    tried = {"recognizer": {"name": MINE, "display_name": "B"}, "validate_only": True}
    assert (await changed(office, "Update", **tried)).display_name == "B"
    await changed(office, "Delete", name=MINE, validate_only=True)
    assert await got(office) == before


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"recognizer_id": "abc"}, Code.INVALID_ARGUMENT),
        ({"recognizer_id": "Upper"}, Code.INVALID_ARGUMENT),
        ({"recognizer_id": "ends-"}, Code.INVALID_ARGUMENT),
        ({"parent": "projects/p"}, Code.INVALID_ARGUMENT),
        ({"recognizer": {"display_name": "x" * 64}}, Code.INVALID_ARGUMENT),
        (
            {"recognizer": {"default_recognition_config": {"translation_config": {"target_language": "fr"}}}},
            Code.INVALID_ARGUMENT,
        ),
        ({"recognizer": {"annotations": {"x": "y" * (300 << 10)}}}, Code.INVALID_ARGUMENT),
    ],
)
async def test_what_makes_no_sense_is_refused(office: GoogleOffice, fields: dict[str, Any], code: Code) -> None:
    given = {"parent": PARENT, "recognizer_id": "mine", "recognizer": {}} | fields
    assert await refusal(office, "CreateRecognizer", **given) is code


async def test_one_is_updated_by_fields(office: GoogleOffice) -> None:
    first = await made(office, display_name="A", annotations={"a": "1"})
    office.clock.advance_ms(5)

    async def update(mask: list[str] | None, **fields: Any) -> Any:
        mask_ = {"update_mask": {"paths": mask}} if mask is not None else {}
        return await changed(office, "Update", recognizer={"name": MINE} | fields, **mask_)

    one = await update(None, annotations={"b": "2"}, uid="x")
    assert (one.display_name, dict(one.annotations), one.uid) == ("A", {"b": "2"}, first.uid)
    assert one.update_time.ToMilliseconds() == one.create_time.ToMilliseconds() + 5
    assert one.etag != first.etag
    one = await update(["display_name", "default_recognition_config.model"], annotations={"c": "3"})
    assert (one.display_name, dict(one.annotations)) == ("", {"b": "2"})
    config = one.default_recognition_config
    assert (config.model, config.explicit_decoding_config.sample_rate_hertz) == ("", 16_000)
    one = await update(["*"], display_name="B")
    assert (one.display_name, one.HasField("default_recognition_config"), one.name) == ("B", False, MINE)
    assert await got(office) == one
    for fields in (
        {"recognizer": {"name": MINE}, "update_mask": {"paths": ["uid"]}},
        {"recognizer": {"name": MINE}, "update_mask": {"paths": ["default_recognition_config.nothing"]}},
        {"recognizer": {"name": f"{PARENT}/recognizers/_"}},
    ):
        assert await refusal(office, "UpdateRecognizer", **fields) is Code.INVALID_ARGUMENT
    assert await refusal(office, "UpdateRecognizer", recognizer={"name": f"{MINE}2"}) is Code.NOT_FOUND


async def test_an_etag_of_before_changes_nothing(office: GoogleOffice) -> None:
    first = await made(office)
    one = await changed(office, "Update", recognizer={"name": MINE, "etag": first.etag, "display_name": "A"})
    for method, fields in (
        ("UpdateRecognizer", {"recognizer": {"name": MINE, "etag": first.etag, "display_name": "B"}}),
        ("DeleteRecognizer", {"name": MINE, "etag": first.etag}),
    ):
        assert await refusal(office, method, **fields) is Code.ABORTED
    assert await got(office) == one
    gone = await changed(office, "Delete", name=MINE, etag=one.etag)
    assert await refusal(office, "UndeleteRecognizer", name=MINE, etag=one.etag) is Code.ABORTED
    assert (await changed(office, "Undelete", name=MINE, etag=gone.etag)).state == ACTIVE


async def test_one_is_deleted_restored_and_ends(office: GoogleOffice) -> None:
    first = await made(office)
    gone = await changed(office, "Delete", name=MINE)
    assert gone.state == DELETED
    assert gone.delete_time.ToMilliseconds() == office.clock.unix_ms()
    assert gone.expire_time.ToMilliseconds() == office.clock.unix_ms() + 30 * DAY_MS
    assert await got(office) == gone
    assert await refusal(office, "DeleteRecognizer", name=MINE) is Code.NOT_FOUND
    assert await changed(office, "Delete", name=MINE, allow_missing=True) == gone
    assert await refusal(office, "UpdateRecognizer", recognizer={"name": MINE}) is Code.FAILED_PRECONDITION
    assert await refusal(office, "CreateRecognizer", parent=PARENT, recognizer_id="mine") is Code.ALREADY_EXISTS
    back = await changed(office, "Undelete", name=MINE)
    assert (back.state, back.HasField("delete_time"), back.HasField("expire_time")) == (ACTIVE, False, False)
    assert (back.uid, back.etag) == (first.uid, first.etag)
    assert await refusal(office, "UndeleteRecognizer", name=MINE) is Code.ALREADY_EXISTS
    await changed(office, "Delete", name=MINE)
    office.clock.advance_ms(30 * DAY_MS)
    assert await refusal(office, "GetRecognizer", name=MINE) is Code.NOT_FOUND
    assert await refusal(office, "UndeleteRecognizer", name=MINE) is Code.NOT_FOUND
    assert await changed(office, "Delete", name=MINE, allow_missing=True) == read(RECOGNIZER, b"")
    await made(office)


async def test_they_are_listed_in_parts(office: GoogleOffice) -> None:
    for id in ("delta", "beta", "alpha", "gamma"):
        await made(office, id)
    await changed(office, "Create", parent=PARENT.replace("global", "eu"), recognizer_id="elsewhere")
    await changed(office, "Delete", name=f"{PARENT}/recognizers/beta")

    async def listed(**fields: Any) -> tuple[list[str], str]:
        answer = await office.call(
            f"{V2}/ListRecognizers", f"{V2}.ListRecognizersResponse", **{"parent": PARENT} | fields
        )
        return [one.name.rpartition("/")[2] for one in answer.recognizers], answer.next_page_token

    names, token = await listed(page_size=2)
    assert names == ["alpha", "delta"]
    assert await listed(page_size=2, page_token=token) == (["gamma"], "")
    assert await listed(show_deleted=True) == (["alpha", "beta", "delta", "gamma"], "")
    for wrong in ({"page_token": "%"}, {"page_size": -1}, {"parent": "x"}):
        assert await refusal(office, "ListRecognizers", **{"parent": PARENT} | wrong) is Code.INVALID_ARGUMENT


async def test_a_project_has_a_bounded_number(office: GoogleOffice) -> None:
    for number in range(MAX_RESOURCES):
        await made(office, f"number-{number}")
    more = {"parent": PARENT, "recognizer_id": "more"}
    assert await refusal(office, "CreateRecognizer", **more) is Code.RESOURCE_EXHAUSTED


async def test_the_same_over_rest(office: GoogleOffice) -> None:
    config = {"model": "tiny", "languageCodes": ["en-US"]}
    operation = await office.rest(
        "POST", f"/v2/{PARENT}/recognizers", {"defaultRecognitionConfig": config}, recognizerId="mine"
    )
    assert operation["response"]["defaultRecognitionConfig"] == config
    path = f"/v2/{MINE}"
    update = {"displayName": "Mine", "model": "x"}
    await office.rest("PATCH", path, update, updateMask="displayName", **{"$alt": "json;enum-encoding=int"})
    one = await office.rest("GET", path)
    assert (one["displayName"], one["state"], "model" in one) == ("Mine", "ACTIVE", False)
    await office.rest("DELETE", path, etag=one["etag"], validateOnly="false")
    assert await office.rest("GET", f"/v2/{PARENT}/recognizers") == {}
    listed = await office.rest("GET", f"/v2/{PARENT}/recognizers", show_deleted="true", **{"$alt": "json"})
    assert [each["name"] for each in listed["recognizers"]] == [MINE]
    await office.rest("POST", f"{path}:undelete", {})
    assert (await office.rest("GET", path))["etag"] == one["etag"]
    for query in ({"validateOnly": "perhaps"}, {"updateMask": "display_name;"}):
        with pytest.raises(Refused) as refused:
            await office.rest("PATCH", path, update, **query)
        assert refused.value.code is Code.INVALID_ARGUMENT
