"""`POST /v1/realtime/client_secrets`: what is asked for and answered, and the session that it opens."""

import json

import pytest
from openai.types.realtime import ClientSecretCreateResponse

from antiphon.core.errors import CallerError
from antiphon.core.wire import Opening
from antiphon.surfaces.openai.realtime.live import RealtimeEndpoint
from antiphon.surfaces.openai.realtime.secrets import ClientSecrets

REQUEST_ID = "00000000-0000-4000-8000-000000000001"
OPENING = Opening("POST", "/v1/realtime/client_secrets", request_id=REQUEST_ID)


def granted(body: dict[str, object] | None = None) -> tuple[int, ClientSecretCreateResponse, bytes]:
    asked = ClientSecrets().ask(OPENING, json.dumps(body).encode() if body is not None else b"")
    answer = asked.tell(asked.spec, "ek_1", 1_767_226_200)
    assert answer.status == 200
    return asked.lifetime_s, ClientSecretCreateResponse.model_validate_json(answer.body), asked.settled


def test_a_secret_has_its_session_beside_it():
    body = {
        "expires_after": {"anchor": "created_at", "seconds": 60},
        "session": {
            "type": "realtime",
            "model": "gpt-realtime",
            "instructions": "Be brief.",
            "audio": {"output": {"voice": "marin"}},
            "tools": [{"type": "function", "name": "weather"}],
        },
    }
    lifetime_s, answer, settled = granted(body)
    assert lifetime_s == 60
    assert (answer.value, answer.expires_at) == ("ek_1", 1_767_226_200)
    assert (answer.session.type, answer.session.model) == ("realtime", "gpt-realtime")
    assert answer.session.id == "sess_00000000000040008000000000000001"
    assert answer.session.audio.output.voice == "marin"
    accepted = RealtimeEndpoint().negotiate(Opening("GET", "/v1/realtime", settled=settled))
    assert (accepted.spec.model, accepted.spec.instructions) == ("gpt-realtime", "Be brief.")
    assert accepted.spec.tools[0].name == "weather"


def test_a_secret_for_transcribing():
    _, answer, settled = granted({"session": {"type": "transcription"}})
    assert answer.session.type == "transcription"
    assert not RealtimeEndpoint().negotiate(Opening("GET", "/v1/realtime", settled=settled)).spec.answers


@pytest.mark.parametrize("body", [None, {}, {"session": None, "expires_after": None}, {"session": {}}])
def test_nothing_needs_to_be_settled(body):
    lifetime_s, answer, settled = granted(body)
    assert (lifetime_s, answer.session.type) == (600, "realtime")
    opening = Opening("GET", "/v1/realtime", (("model", "gpt-realtime"),), settled=settled)
    assert RealtimeEndpoint().negotiate(opening).spec.model == "gpt-realtime"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"seconds": 9}}, "expires_after.seconds"),
        ({"expires_after": {"seconds": 7201}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now"}}, "expires_after.anchor"),
        ({"session": {"type": "translation"}}, "session.type"),
        ({"session": {"voice": "marin"}}, "session.voice"),
        ({"session": []}, "session"),
        ({"session": {"tools": [{"type": "mcp", "server_label": "a"}]}}, "session.tools[0].type"),
        ({"model": "gpt-realtime"}, "model"),
    ],
)
def test_what_makes_no_sense_is_refused(body, param):
    with pytest.raises(CallerError) as caught:
        ClientSecrets().ask(OPENING, json.dumps(body).encode())
    assert caught.value.param == param


def test_only_what_azure_has_belongs_in_the_query():
    with pytest.raises(CallerError):
        ClientSecrets().ask(Opening("POST", OPENING.path, (("model", "a"),)), b"{}")
