"""A batch whose server is killed while it runs, again and again, on the real engine: every line is answered, none is
charged twice.
"""

import asyncio
import json
import time
from pathlib import Path

import pytest
from openai import OpenAI

from antiphon.core.identity import DEFAULT_PROJECT
from antiphon.core.usage import Dimension, UsageQuery
from antiphon.models import Store
from antiphon.stores import open_stores
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.trust.control import Control
from serving import API_KEY, start

pytestmark = pytest.mark.long

LINES, KILLS = 24, 2
CHAT = "/v1/chat/completions"
SETTINGS = """
[models]
small = { engines = ["smollm2-135m-instruct"] }
[engines.smollm2-135m-instruct]
kind = "openvino"
model = "smollm2-135m-instruct"
weights = "int8"
"""


def lines() -> bytes:
    said = {"model": "small", "max_tokens": 16, "temperature": 0}
    bodies = ({**said, "messages": [{"role": "user", "content": f"Count to {number}."}]} for number in range(LINES))
    called = ({"custom_id": f"r{n}", "method": "POST", "url": CHAT, "body": body} for n, body in enumerate(bodies))
    return "\n".join(map(json.dumps, called)).encode()


@pytest.mark.parametrize("kill", [True, False])
def test_a_batch_goes_on_where_its_server_died_and_is_charged_once(tmp_path: Path, models: Store, kill: bool) -> None:
    Control(SqliteDirectory(tmp_path)).change_project(DEFAULT_PROJECT, 0, keep_answers_s=86_400)
    batch_id, seen = "", 0
    for life in range(KILLS + 1):
        process, url = start(tmp_path, models, SETTINGS)
        try:
            with OpenAI(base_url=f"{url}/v1", api_key=API_KEY, max_retries=0, timeout=60) as client:
                if not batch_id:
                    file = client.files.create(file=("in.jsonl", lines()), purpose="batch")
                    batch_id = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h").id
                deadline = time.monotonic() + 240
                while True:
                    assert time.monotonic() < deadline
                    batch = client.batches.retrieve(batch_id)
                    assert batch.request_counts
                    done = batch.request_counts.completed
                    assert done >= seen
                    if batch.status == "completed" or (life < KILLS and done > seen):
                        break
                    time.sleep(0.01)
                seen = done
                if batch.status == "completed":
                    output = client.files.content(batch.output_file_id or "").text.splitlines()
        finally:
            process.kill() if kill else process.terminate()
            process.wait(30)
        if batch.status == "completed":
            break
    assert batch.status == "completed"
    assert batch.request_counts
    assert (batch.request_counts.completed, batch.request_counts.failed) == (LINES, 0)
    assert sorted(json.loads(line)["custom_id"] for line in output) == sorted(f"r{n}" for n in range(LINES))
    totals = asyncio.run(open_stores(tmp_path).usage.totals(UsageQuery(by=(), project=DEFAULT_PROJECT)))
    charged = {total.dimension: total.amount for total in totals}
    said = sum(json.loads(line)["response"]["body"]["usage"]["completion_tokens"] for line in output)
    assert charged[Dimension.LLM_OUTPUT_TOKENS] == said
    assert batch.usage
    assert batch.usage.output_tokens == said
