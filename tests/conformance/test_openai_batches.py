"""Files and batches by the official SDK, answered by the embedded models, charged once."""

import asyncio
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Batch

from antiphon.core.identity import DEFAULT_PROJECT
from antiphon.core.usage import Dimension, UsageQuery
from antiphon.stores import open_stores
from serving import Server

pytestmark = pytest.mark.long

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
EMBEDDINGS, COMPLETIONS = "/v1/embeddings", "/v1/completions"
ASK = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 5}


def jsonl(*bodies: Any, url: str = CHAT) -> bytes:
    lines = ({"custom_id": f"r{n}", "method": "POST", "url": url, "body": body} for n, body in enumerate(bodies))
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def started(client: OpenAI, data: bytes, url: Any = CHAT, **more: Any) -> Batch:
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=url, completion_window="24h", **more)


def ended(client: OpenAI, batch: Batch) -> Batch:
    deadline = time.monotonic() + 120
    while batch.status in ("validating", "in_progress", "cancelling", "finalizing"):
        assert time.monotonic() < deadline, batch
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def lines(client: OpenAI, file: str | None) -> dict[str, Any]:
    assert file
    found = [json.loads(line) for line in client.files.content(file).text.splitlines()]
    assert all(set(line) == {"id", "custom_id", "response", "error"} for line in found)
    assert all(line["id"].startswith("batch_req_") for line in found)
    return {line["custom_id"]: line for line in found}


def test_a_file_is_kept_listed_read_and_deleted(client: OpenAI) -> None:
    data = jsonl(ASK)
    file = client.files.create(
        file=("mine.jsonl", data), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert (file.filename, file.bytes, file.purpose, file.status) == ("mine.jsonl", len(data), "batch", "processed")
    assert file.expires_at == file.created_at + 3600
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).content == data
    assert file in list(client.files.list(purpose="batch", limit=1))
    later = client.files.create(file=b"x", purpose="batch")
    assert [each.id for each in client.files.list(after=later.id, limit=1)][:1] == [file.id]
    assert client.files.delete(file.id).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            call(file.id)
    client.files.delete(later.id)


def test_a_batch_of_chats_is_answered_and_charged_once(client: OpenAI, server: Server) -> None:
    before = _charged(server)
    bad = {**ASK, "temperature": 9}
    batch = started(client, jsonl(ASK, bad, ASK, {**ASK, "stream": True}), metadata={"for": "test"})
    assert (batch.status, batch.metadata, batch.endpoint) == ("validating", {"for": "test"}, CHAT)
    assert batch.expires_at
    batch = ended(client, batch)
    assert batch.status == "completed"
    assert batch.request_counts
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (4, 2, 2)
    assert batch.model == "gpt-4o-mini"
    assert batch.in_progress_at
    assert batch.completed_at
    good, wrong = lines(client, batch.output_file_id), lines(client, batch.error_file_id)
    assert set(good) == {"r0", "r2"}
    for line in good.values():
        assert line["response"]["status_code"] == 200
        answer = line["response"]["body"]
        assert answer["object"] == "chat.completion"
        assert answer["choices"][0]["message"]["content"]
    assert {name: line["response"]["body"]["error"]["param"] for name, line in wrong.items()} == {
        "r1": "temperature",
        "r3": "stream",
    }
    assert {line["response"]["status_code"] for line in wrong.values()} == {400}
    assert batch.usage
    said = [line["response"]["body"]["usage"] for line in good.values()]
    assert batch.usage.input_tokens == sum(usage["prompt_tokens"] for usage in said)
    assert batch.usage.output_tokens == sum(usage["completion_tokens"] for usage in said)
    charged = {dimension: amount - before.get(dimension, 0) for dimension, amount in _charged(server).items()}
    assert charged[Dimension.LLM_OUTPUT_TOKENS] == batch.usage.output_tokens
    assert batch in list(client.batches.list(limit=5))
    assert client.files.retrieve(batch.output_file_id or "").purpose == "batch_output"


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (RESPONSES, {"model": "gpt-4o-mini", "input": "Name a colour.", "max_output_tokens": 5}),
        (EMBEDDINGS, {"model": "text-embedding-3-small", "input": ["a", "b"]}),
    ],
)
def test_every_endpoint_answers_its_own(client: OpenAI, url: str, body: Any) -> None:
    batch = ended(client, started(client, jsonl(body, url=url), url))
    assert batch.status == "completed"
    answer = lines(client, batch.output_file_id)["r0"]["response"]["body"]
    assert answer["object"] in ("response", "list")
    assert batch.usage
    assert batch.usage.input_tokens > 0


def test_a_model_that_is_not_there_is_in_the_errors(client: OpenAI) -> None:
    bodies = [{"model": "gpt-0", "prompt": "a"}, {"model": "gpt-4o-mini", "prompt": "a", "max_tokens": 2}]
    batch = ended(client, started(client, jsonl(*bodies, url=COMPLETIONS), COMPLETIONS))
    assert batch.status == "completed"
    assert lines(client, batch.error_file_id)["r0"]["response"]["status_code"] == 404
    assert lines(client, batch.output_file_id)["r1"]["response"]["body"]["object"] == "text_completion"


def test_an_input_that_is_wrong_fails_with_its_lines(client: OpenAI) -> None:
    data = jsonl(ASK) + b"\n{not json\n" + jsonl(ASK) + jsonl(ASK, url=EMBEDDINGS).replace(b"r0", b"r9")
    batch = ended(client, started(client, data))
    assert batch.status == "failed"
    assert batch.failed_at
    assert batch.errors
    assert batch.errors.data
    found = [(error.line, error.code, error.param) for error in batch.errors.data]
    assert found == [
        (3, "invalid_json_line", None),
        (4, "duplicate_custom_id", "custom_id"),
        (5, "mismatched_endpoint", "url"),
    ]
    assert batch.output_file_id is None


def test_a_cancelled_batch_keeps_what_was_answered_and_says_of_the_rest_why_not(client: OpenAI) -> None:
    long = {**ASK, "max_tokens": 4000, "temperature": 0, "ignore_eos": True}
    batch = started(client, jsonl(*[long] * 30))
    while batch.status == "validating":
        batch = client.batches.retrieve(batch.id)
    cancelled = client.batches.cancel(batch.id)
    assert cancelled.status in ("cancelling", "cancelled")
    batch = ended(client, cancelled)
    assert batch.status == "cancelled"
    assert batch.cancelled_at
    assert batch.cancelling_at
    assert batch.request_counts
    assert batch.request_counts.completed + batch.request_counts.failed == batch.request_counts.total == 30
    wrong = lines(client, batch.error_file_id)
    assert {line["error"]["code"] for line in wrong.values()} == {"batch_cancelled"}
    assert client.batches.cancel(batch.id).status == "cancelled"


def test_what_makes_no_sense_is_refused(client: OpenAI) -> None:
    file = client.files.create(file=jsonl(ASK), purpose="batch")
    usual: dict[str, Any] = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
    for wrong, param in (
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.batches.create(**{**usual, **wrong})
        assert (refused.value.param or "").startswith(param)
    purposes: Iterable[Any] = ("fine-tune", "assistants")
    for purpose in purposes:
        with pytest.raises(openai.BadRequestError, match="purpose"):
            client.files.create(file=b"x", purpose=purpose)
    for call in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(openai.NotFoundError, match="No batch found"):
            call("batch_1")
    batch = ended(client, client.batches.create(**usual))
    with pytest.raises(openai.BadRequestError, match="Cannot cancel"):
        client.batches.cancel(batch.id)
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.batches.create(**{**usual, "input_file_id": batch.output_file_id})


def _charged(server: Server) -> dict[str, int]:
    query = UsageQuery(project=DEFAULT_PROJECT, by=())
    totals = asyncio.run(open_stores(server.data_dir).usage.totals(query))
    return {total.dimension: total.amount for total in totals}


def test_recordings_are_transcribed_from_uploaded_files(client: OpenAI, beckett: Path) -> None:
    recording = client.files.create(file=beckett, purpose="user_data")
    assert recording.purpose == "user_data"
    body = {"model": "whisper-1", "file": recording.id}
    url = "/v1/audio/transcriptions"
    asked = jsonl(body, {**body, "response_format": "srt"}, {**body, "file": "file-nowhere"}, url=url)
    batch = ended(client, started(client, asked, url))
    assert batch.status == "completed"
    good, wrong = lines(client, batch.output_file_id), lines(client, batch.error_file_id)
    assert len(good["r0"]["response"]["body"]["text"].split()) > 10
    assert good["r1"]["response"]["body"].startswith("1\n00:00:0")
    assert wrong["r2"]["response"]["status_code"] == 404
    client.files.delete(recording.id)
