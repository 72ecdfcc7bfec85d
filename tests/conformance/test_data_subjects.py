"""A person's data by the vendors' SDKs, unmodified: tagged, exported, erased; and calls that need consent."""

import json
from pathlib import Path
from typing import Any

import assemblyai
import httpx
import openai
import pytest
from openai import OpenAI

PERSON = "patient-8151"
TAGS = {"antiphon-tags": f"subject={PERSON},consent=call-7"}


class Project:
    """A project that keeps answers and requires consent, with a key, and the management API."""

    def __init__(self, server: Any) -> None:
        bearer = {"Authorization": f"Bearer {server.api_key}"}
        self.url = server.base_url
        self.admin = httpx.Client(base_url=f"{server.base_url}/admin/v1", headers=bearer, timeout=60)
        made = {"id": "clinic", "keep_answers_s": 3600, "consent": "voice"}
        assert self.admin.post("/projects", json=made).status_code == 201
        self.key = self.admin.post("/keys", json={"project": "clinic"}).json()["key"]
        self.openai = OpenAI(base_url=f"{server.base_url}/v1", api_key=self.key, max_retries=0, timeout=60)

    def export(self) -> list[dict[str, Any]]:
        answer = self.admin.post("/projects/clinic/subjects/export", json={"subject": PERSON})
        assert answer.status_code == 200
        return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture(scope="module")
def project(server: Any) -> Any:
    made = Project(server)
    yield made
    made.openai.close()
    made.admin.close()


def test_without_consent_each_sdk_is_told_so_in_its_own_way(project: Project, beckett: Path) -> None:
    with beckett.open("rb") as speech, pytest.raises(openai.PermissionDeniedError) as refused:
        project.openai.audio.transcriptions.create(model="whisper-1", file=speech)
    assert refused.value.code == "consent_required"
    assemblyai.settings.base_url, assemblyai.settings.api_key = project.url, project.key
    with pytest.raises(assemblyai.TranscriptError, match="consent"):
        assemblyai.Transcriber().submit("https://example.org/a.wav")


def test_what_is_kept_of_a_person_is_exported_and_erased(project: Project, beckett: Path) -> None:
    asked: dict[str, Any] = {"model": "gpt-4o-mini", "input": "Say hello.", "max_output_tokens": 5}
    first = project.openai.responses.create(**asked, safety_identifier=PERSON)
    second = project.openai.responses.create(**asked, previous_response_id=first.id)
    other = project.openai.responses.create(**asked, safety_identifier="someone else")
    with beckett.open("rb") as speech:
        heard = project.openai.audio.transcriptions.create(model="whisper-1", file=speech, extra_headers=TAGS)
    assert heard.text
    usage = project.admin.get("/usage", params={"project": "clinic", "tag": "consent=call-7", "by": "feature"}).json()
    assert [row["dimension"] for row in usage["data"]] == ["stt.audio_ms"]
    project.openai.files.create(file=("patient.jsonl", b"{}"), purpose="batch", extra_headers=TAGS)

    head, *lines, end = project.export()
    assert head["subject"] == PERSON
    assert end["counts"] == {"answers": 2, "remembered": 0, "jobs": 0, "files": 1, "lines": 0}
    answers = {line["id"]: line for line in lines if line["kind"] == "answer"}
    assert set(answers) == {first.id, second.id}
    assert first.output_text in json.dumps(answers[first.id], ensure_ascii=False)
    assert [line["name"] for line in lines if line["kind"] == "file"] == ["patient.jsonl"]

    certificate = project.admin.post("/projects/clinic/subjects/erase", json={"subject": PERSON}).json()
    assert certificate["erased"] == end["counts"] | {"under_way": 0, "notices": 0}
    assert 0 <= certificate["log"]["number"] < certificate["log"]["size"]
    for erased in (first, second):
        with pytest.raises(openai.NotFoundError):
            project.openai.responses.retrieve(erased.id)
    assert project.openai.responses.retrieve(other.id).id == other.id
    assert project.export()[-1]["counts"]["answers"] == 0
    after = project.admin.get("/usage", params={"project": "clinic", "tag": "consent=call-7", "by": "feature"}).json()
    assert after == usage
