"""What is kept of answers, when the server is killed and when it is stopped, on the real engine."""

import pytest
from openai import BadRequestError, OpenAI

from antiphon.core.identity import DEFAULT_PROJECT
from antiphon.models import Store
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.trust.control import Control
from serving import API_KEY, LANGUAGE, start

MODEL = "gpt-4o-mini"
# Greedily, the model does not come to an end with this.
LONG = {
    "instructions": "Be brief.",
    "input": "Say hello.",
    "temperature": 0,
    "max_output_tokens": 4000,
    "extra_body": {"ignore_eos": True},
}


@pytest.mark.parametrize("kill", [True, pytest.param(False, marks=pytest.mark.long)])
def test_what_was_answered_is_kept_and_what_ran_in_the_background_is_failed(tmp_path, models: Store, kill):
    Control(SqliteDirectory(tmp_path)).change_project(DEFAULT_PROJECT, 0, keep_answers_s=3600)
    process, url = start(tmp_path, models, LANGUAGE)
    try:
        with OpenAI(base_url=f"{url}/v1", api_key=API_KEY, max_retries=0, timeout=60) as client:
            for event in client.responses.create(model=MODEL, input="Hi", max_output_tokens=5, stream=True):
                last = event
            if kill:  # the moment the last byte is here
                running = client.responses.create(model=MODEL, background=True, **LONG)
                answered = client.responses.create(model=MODEL, input="Hi", max_output_tokens=5)
                process.kill()
                process.wait()
            else:
                answered = client.responses.create(model=MODEL, input="Hi", max_output_tokens=5)
                running = client.responses.create(model=MODEL, background=True, **LONG)
                process.terminate()
                assert process.wait(30) == 0
        process, url = start(tmp_path, models, LANGUAGE)
        with OpenAI(base_url=f"{url}/v1", api_key=API_KEY, max_retries=0, timeout=60) as client:
            assert client.responses.retrieve(answered.id) == answered
            assert client.responses.retrieve(last.response.id) == last.response
            interrupted = client.responses.retrieve(running.id)
            assert (interrupted.status, interrupted.error.code) == ("failed", "server_error")
            with pytest.raises(BadRequestError, match="ended"):
                client.responses.cancel(running.id)
    finally:
        process.terminate()
    assert process.wait(30) == 0
