"""A request that makes a file or a job comes again: what it makes is made once, with every vendor."""

import json
import uuid

import pytest

from antiphon.core.errors import CallerError
from antiphon.core.identity import Webhook
from antiphon.core.routing import CallRow, LookupRow
from antiphon.core.wire import Body, Opening, Response
from antiphon.routes import GRPC_ROUTES, ROUTES
from antiphon.session.retries import TRY
from antiphon.surfaces.google import messages
from antiphon.surfaces.google.dialect import V2
from session_house import House

KINDS = ("file", "batch", "upload", "transcript", "scribe", "operation")
KEY = {"idempotency-key": "k1"}
URI = "https://x.example/speech.wav"


class Held:
    def add(self, more_bytes):
        pass

    def keep(self, most_bytes):
        pass

    def release(self):
        pass


class Office(House):
    def __init__(self):
        super().__init__()
        self.keep_s["acme"] = 86_400
        self.keys.hooks = [Webhook("w1", "acme", "", "https://x.example/hook", 0, "wsec_1")]

    async def post(self, path, sent, **headers):
        """Return the answer to a request with an id of its own."""
        row = next(
            row
            for row in (*ROUTES, *GRPC_ROUTES)
            if row.path == path and not (isinstance(row, LookupRow) and row.method != "POST" and row in ROUTES)
        )
        name = "xi-api-key" if row.surface == "elevenlabs" else "authorization"
        token = "secret" if name == "xi-api-key" or row.surface == "assemblyai" else "Bearer secret"
        sent_as = {"content-type": "multipart/form-data; boundary=x"} if isinstance(sent, Body) else {}
        headers = {name: token, **sent_as, **headers}
        opening = Opening("POST", path, headers=headers, request_id=str(uuid.uuid4()))

        async def read(principal):
            return Held(), sent

        step = await (self.door.call if isinstance(row, CallRow) else self.door.look_up)(row, opening, read)
        return (step.status, step.body) if isinstance(step, Response) else (200, step.sends)

    async def batch(self):
        """Return the request of a batch."""
        _, body = await self.post("/v1/files", FILE)
        made = {"input_file_id": json.loads(body)["id"], "endpoint": "/v1/embeddings", "completion_window": "24h"}
        return json.dumps(made).encode()

    @property
    def made(self):
        """How many files and jobs there are."""
        return len(self.files._blobs) + len(self.files._jobs)


@pytest.fixture
async def office():
    made = Office()
    yield made
    await made.close()


FILE = Body(b'{"custom_id": "a"}\n', (("purpose", "batch"),), has_file=True, filename="in.jsonl")
FORM = Body(b"RIFF", (("model_id", "nova-3"), ("webhook", "true")), has_file=True)


LONG = "/google.cloud.speech.v2.Speech/BatchRecognize"
NAME = "projects/p/locations/global/recognizers/_"


def google():
    made = messages.kind(V2.name("BatchRecognizeRequest"))(recognizer=NAME)
    made.config.auto_decoding_config.SetInParent()
    made.config.model = "long"
    made.config.language_codes.append("en-US")
    made.files.add(uri=URI)
    made.recognition_output_config.inline_response_config.SetInParent()
    return made.SerializeToString()


async def requests(office):
    """Return a request of each kind: its path and body."""
    return {
        "file": ("/v1/files", FILE),
        "batch": ("/v1/batches", await office.batch()),
        "upload": ("/v2/upload", b"RIFF"),
        "transcript": ("/v2/transcript", json.dumps({"audio_url": URI, "speech_model": "nova-3"}).encode()),
        "scribe": ("/v1/speech-to-text", FORM),
        "operation": (LONG, google()),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("first", "again"),
    [(KEY, KEY), ({TRY: "0"}, {TRY: "1"})],
    ids=["a key", "a numbered retry"],
)
async def test_it_is_made_once(office, kind, first, again):
    path, body = (await requests(office))[kind]
    status, answer = await office.post(path, body, **first)
    made = office.made
    assert status < 300
    assert await office.post(path, body, **again) == (status, answer)
    assert office.made == made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("first", "again"),
    [({}, {}), (KEY, {"idempotency-key": "k2"}), ({TRY: "0"}, {TRY: "0"}), ({TRY: "0"}, {TRY: "2"})],
    ids=["no key", "another key", "a new call", "not the next try"],
)
async def test_another_request_makes_another(office, kind, first, again):
    path, body = (await requests(office))[kind]
    _, answer = await office.post(path, body, **first)
    made = office.made
    _, other = await office.post(path, body, **again)
    assert other != answer
    assert office.made > made


async def test_other_content_makes_another(office):
    _, answer = await office.post("/v1/files", FILE, **KEY)
    other = Body(b'{"custom_id": "b"}\n', FILE.fields, has_file=True, filename="in.jsonl")
    assert json.loads((await office.post("/v1/files", other, **KEY))[1])["id"] != json.loads(answer)["id"]


async def test_another_projects_key_is_its_own(office):
    _, answer = await office.post("/v1/files", FILE, **KEY)
    office.keys.project = "other"
    office.keep_s["other"] = 86_400
    assert json.loads((await office.post("/v1/files", FILE, **KEY))[1])["id"] != json.loads(answer)["id"]


async def test_a_job_is_shown_as_it_is_by_then(office):
    body = await office.batch()
    _, answer = await office.post("/v1/batches", body, **KEY)
    id = json.loads(answer)["id"]
    await office.files.cancel("acme", id, 86_400)
    assert json.loads((await office.post("/v1/batches", body, **KEY))[1])["status"] != json.loads(answer)["status"]


async def test_a_key_has_a_bound(office):
    with pytest.raises(CallerError, match="idempotency key"):
        await office.post("/v1/files", FILE, **{"idempotency-key": "x" * 300})
