"""Transcripts as AssemblyAI's SDK types them: what is asked for, what a recogniser said, and every view of it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from assemblyai import types
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.audio import Codec
from antiphon.core.capabilities import Incapable, SpeechAbility, UnsupportedLanguage
from antiphon.core.errors import AntiphonError, BadMedia, CallerError, EngineError, NotFound
from antiphon.core.events import Cause, Closed, Failed, Final, Interim, Opened, Output, Transcript, Word
from antiphon.core.jobs import Job, JobAct, JobOutput, JobState, ManyJobs, NewFile, NewJob, OneJob, Page
from antiphon.core.redaction import ALL, Cover, Entity, RedactedAudio, Substitution
from antiphon.core.wire import Body, Opening, Response, ShortToken, Step, Url
from antiphon.surfaces.assemblyai import passages, transcripts
from antiphon.surfaces.assemblyai import transcript_parameters as parameters
from antiphon.surfaces.assemblyai import transcript_wire as wire
from antiphon.surfaces.assemblyai.endpoint import Endpoint
from antiphon.surfaces.assemblyai.live import StreamEndpoint
from antiphon.surfaces.assemblyai.sync import SyncEndpoint
from antiphon.surfaces.assemblyai.transcript_call import KIND, TranscribeCall, TranscriptKind
from antiphon.surfaces.assemblyai.transcript_list import ListTranscripts

NOW = 1_724_974_675_202
ID = "8c8ebea9dbec45faa035e4632cb05b5f"
URL = "https://example.org/a.wav"
UNGUIDED = Opened("tiny", languages=("en",), unmet_speech=frozenset((SpeechAbility.GUIDANCE,)))


def opening(path: str = "", query: Sequence[tuple[str, str]] = (), **headers: str) -> Opening:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Opening("GET", f"/v2/transcript{path}", tuple(query), given, (), ID, NOW)


def words(text: str, start_ms: int = 0, step_ms: int = 100) -> tuple[Word, ...]:
    """Each in so many milliseconds; `|` is a pause of two seconds."""
    found, at = [], start_ms
    for word in text.split():
        if word == "|":
            at += 2_000
            continue
        found.append(Word(word, at, at + step_ms, 0.9))
        at += step_ms
    return tuple(found)


def final(text: str, start_ms: int = 0, channel: int = 0, language: str = "en", sure: float = 1.0) -> Final:
    heard = words(text, start_ms)
    end_ms = heard[-1].end_ms if heard else start_ms
    said = Transcript(" ".join(word.text for word in heard), 0.9, heard, (), language, sure)
    return Final(channel, start_ms, end_ms, said, Cause.ENDPOINT)


def asked(**values: Any) -> wire.Settled:
    return wire.Settled(URL, "", values)


def heard(values: dict[str, Any], *events: Output, audio_ms: int = 10_000, channels: int = 1) -> Step:
    """What the call of the recogniser is answered."""
    call = TranscribeCall()
    accepted = call.negotiate(opening(), wire.write(asked(**values)))
    assert accepted.media == Url(URL)
    steps = [accepted.surface.emit(event, 0) for event in (*events, Closed(audio_ms, channels, ""))]
    assert not any(step.sends for step in steps[:-1])
    return steps[-1]


def result(values: dict[str, Any], *events: Output, **closed: int) -> wire.Result:
    step = heard(values, UNGUIDED, *events, **closed)
    assert isinstance(step, Response)
    assert step.status == 200, step.body
    return wire.result.decode(step.body)


def job(state: JobState = JobState.DONE, told: bytes = b"", settled: wire.Settled | None = None, id: str = ID) -> Job:
    return Job(
        project="acme",
        id=id,
        kind=KIND,
        key_id="k1",
        scopes=frozenset(),
        request=wire.write(settled or asked()),
        input="",
        output=f"{id}-text",
        errors="",
        created_unix_ms=NOW,
        deadline_unix_ms=NOW + 1,
        ends_unix_ms=NOW + 3_600_000,
        over_unix_ms=NOW + 2_000,
        state=state,
        result=told,
    )


def shown(
    values: dict[str, Any], output: wire.Result | None, state: JobState = JobState.DONE, told: bytes = b""
) -> Any:
    """The answer to who retrieves it, which is as the SDK types it."""
    question = transcripts.RetrieveTranscript().ask(opening(f"/{ID}"), b"")
    assert isinstance(question, JobOutput)
    assert (question.kind, question.id) == (KIND, ID)
    step = question.tell(job(state, told, asked(**values)), wire.write(output) if output else b"", False)
    assert isinstance(step, Response)
    message = json.loads(step.body)
    check(types.TranscriptResponse, message)
    return message


def check(kind: Any, message: dict[str, Any], beside: Sequence[str] = ()) -> None:
    """It is one of the SDK's, which are of pydantic's first version: no field has another type, or another name."""
    kind.parse_obj(message)
    assert set(message) <= set(kind.__fields__) | set(beside)


def refusal(endpoint: Endpoint, error: AntiphonError) -> tuple[int, str]:
    step = endpoint.refuse(opening(), error)
    assert isinstance(step, Response)
    (text,) = json.loads(step.body).values()
    return step.status, text


# -- what is asked for -------------------------------------------------------------------------------------------------


def test_a_request_is_a_job_of_one_call() -> None:
    values = {
        "audio_url": f" {URL} ", "speech_models": ["universal-2", "nano"], "speech_model": "best",
        "language_code": None, "language_codes": ["en", "es"], "multichannel": True,
        "audio_start_from": 5, "audio_end_at": 9,
        "keyterms_prompt": ["Antiphon", " ", "a b"], "word_boost": ["x"], "prompt": "A call.", "disfluencies": True,
        "redact_pii": False, "auto_chapters": False, "custom_spelling": [{"from": ["AI ", "a i"], "to": "A.I."}],
    }  # fmt: skip
    question = transcripts.CreateTranscript().ask(opening(), json.dumps(values).encode())
    assert (question.kind, question.id, question.input) == (KIND, ID, "")
    spec = question.spec
    assert spec is not None
    assert (spec.model, spec.language, spec.languages, spec.multichannel) == ("universal-2", "", ("en", "es"), True)
    assert (spec.from_ms, spec.until_ms, spec.prompt, spec.keyterms) == (5, 9, "A call.", ("Antiphon", "a b", "x"))
    assert spec.word_times
    step = question.tell(job(JobState.QUEUED, settled=wire.settled.decode(question.request)))
    assert isinstance(step, Response)
    message = json.loads(step.body)
    check(types.TranscriptResponse, message)
    assert (message["status"], message["audio_url"], message["disfluencies"]) == ("queued", URL, True)
    assert dict(step.headers)["antiphon-no-effect"] == "disfluencies"
    assert dict(step.headers)["antiphon-kept-until"] == "2024-08-30T00:37:55.202Z"
    assert "language_code" not in message


def test_an_upload_is_known_by_its_url() -> None:
    question = transcripts.Upload().ask(opening(), b"sound")
    assert isinstance(question, NewFile)
    assert question.data == b"sound"
    url = f"{transcripts.UPLOADS}{question.id}"
    create = transcripts.CreateTranscript().ask(opening(), json.dumps({"audio_url": url}).encode())
    assert (create.input, create.input_purpose) == (question.id, question.purpose)
    call = TranscriptKind().item(create.request)
    accepted = TranscribeCall().negotiate(opening(), Body(b"sound", (("request", call.body.decode()),)))
    assert (call.file, accepted.media) == (question.id, b"sound")
    for endpoint, body in ((transcripts.Upload(), b""), (transcripts.CreateTranscript(), b"[]")):
        with pytest.raises(CallerError):
            endpoint.ask(opening(), body)
    with pytest.raises(CallerError):
        transcripts.Upload().ask(opening(content_type="multipart/form-data; boundary=a"), b"--a")
    assert refusal(transcripts.CreateTranscript(), CallerError("No such File object.", param="input"))[0] == 400


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "`audio_url` is required"),
        ({"audio_url": "ftp://a/b"}, "`audio_url`"),
        ({"audio_url": "http://"}, "`audio_url`"),
        ({"audio_url": f"{transcripts.UPLOADS}upload-1"}, "no such upload"),
        ({"audio_uri": URL}, "Unknown parameter 'audio_uri'"),
        ({"redact_pii": True, "redact_pii_return_unredacted": True}, "`redact_pii_return_unredacted` is not supported"),
        ({"redact_pii_policies": ["person_name"]}, "needs `redact_pii`"),
        ({"redact_pii": True, "redact_pii_policies": ["drug"]}, "'drug' is not supported"),
        ({"redact_pii": True, "redact_pii_sub": "stars"}, "hash or entity_name"),
        ({"redact_pii_audio": True}, "`redact_pii_audio` needs `redact_pii`"),
        ({"redact_pii": True, "redact_pii_audio": True, "redact_pii_audio_quality": "flac"}, "mp3 or wav"),
        ({"redact_pii": True, "redact_pii_audio": True, "redact_pii_audio_options": {"a": 1}}, "can have"),
        (
            {
                "redact_pii": True,
                "redact_pii_audio": True,
                "redact_pii_audio_options": {"override_audio_redaction_method": "noise"},
            },
            "must be silence",
        ),
        ({"iab_categories": True}, "language model"),
        ({"punctuate": "maybe"}, "`punctuate`"),
        ({"audio_start_from": 5, "audio_end_at": 5}, "`audio_end_at`"),
        ({"audio_start_from": -1}, "`audio_start_from`"),
        ({"language_detection": True, "language_code": "en"}, "`language_detection`"),
        ({"language_confidence_threshold": 0.5}, "needs `language_detection`"),
        ({"language_detection": True, "language_detection_options": {"surprise": 1}}, "surprise"),
        ({"language_detection": True, "language_detection_options": []}, "must be an object"),
        (
            {"language_detection": True, "language_detection_options": {"on_low_language_confidence": "fallback"}},
            "on_low_language_confidence",
        ),
        ({"speech_threshold": 1.5}, "`speech_threshold`"),
        ({"keyterms_prompt": ["a" * 129]}, "`keyterms_prompt`"),
        ({"prompt": "a" * 6_001}, "`prompt`"),
        ({"custom_spelling": [{"from": [" "], "to": "a"}]}, "`custom_spelling`"),
        ({"custom_spelling": [{"from": ["?!"], "to": "a"}]}, "`custom_spelling`"),
        ({"custom_spelling": {"a": "b"}}, "`custom_spelling`"),
        ({"webhook_url": "file:///etc/passwd"}, "`webhook_url`"),
        ({"webhook_auth_header_name": "x"}, "both a name and a value"),
        ({"webhook_auth_header_name": "Host", "webhook_auth_header_value": "a"}, "`webhook_auth_header_name`"),
        ({"webhook_auth_header_name": "a b", "webhook_auth_header_value": "a"}, "`webhook_auth_header_name`"),
        ({"webhook_auth_header_name": "a", "webhook_auth_header_value": "a\r\nb: c"}, "`webhook_auth_header_value`"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], words: str) -> None:
    body = {"audio_url": URL, **values} if values else values
    with pytest.raises(CallerError, match=words) as refused:
        transcripts.CreateTranscript().ask(opening(), json.dumps(body).encode())
    assert refusal(transcripts.CreateTranscript(), refused.value)[0] == 400


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            UnsupportedLanguage("de", ("en",)),
            "`language_code`: this model does not support the language 'de', only 'en'.",
        ),
        (UnsupportedLanguage("de", ("en", "fr"), "languages"), "`language_codes`: .*only 'en', 'fr'"),
        (Incapable(SpeechAbility.DETECTION), "`language_detection` is not supported"),
    ],
)
def test_what_a_model_cannot_do_has_the_callers_names(error: AntiphonError, words: str) -> None:
    for endpoint in (transcripts.CreateTranscript(), TranscribeCall(), SyncEndpoint(), StreamEndpoint()):
        step = endpoint.refuse(opening(), error)
        said = "".join(send if isinstance(send, str) else getattr(send, "decode", str)() for send in step.sends)
        assert re.search(words, said), said


def test_no_parameter_of_detection_is_dropped() -> None:
    options = {"expected_languages": ["en", "es"], "fallback_language": "auto", "code_switching": True}
    read = parameters.read({"language_detection": True, "language_detection_options": options})
    assert (read.spec.detect, read.spec.languages) == (True, ("en", "es"))
    assert read.without_effect == ("language_detection_options.code_switching",)
    assert all(parameters.warning(name) for name in read.without_effect)


def test_what_is_to_be_hidden_goes_with_the_request() -> None:
    read = parameters.read({"redact_pii": True, "redact_pii_policies": ["phone_number", "location"]}).spec
    assert read.redaction is not None
    assert read.redaction.entities == {Entity.PHONE, Entity.PLACE, Entity.ADDRESS}
    assert (read.redaction.substitution, read.redacted_audio) == (Substitution.HASH, None)
    values = {"redact_pii": True, "redact_pii_sub": "entity_name", "redact_pii_audio": True}
    spec = parameters.read(values).spec
    assert spec.redaction is not None
    assert (spec.redaction.entities, spec.redaction.substitution) == (ALL, Substitution.ENTITY_NAME)
    assert spec.redacted_audio == RedactedAudio(Codec.MP3, Cover.BEEP)
    silent = {"override_audio_redaction_method": "silence"}
    spec = parameters.read({**values, "redact_pii_audio_quality": "wav", "redact_pii_audio_options": silent}).spec
    assert spec.redacted_audio == RedactedAudio(Codec.LINEAR16, Cover.SILENCE)
    assert parameters.read({"redact_pii": False, "redact_pii_audio": False}).spec.redaction is None


def audio_of(values: dict[str, Any], state: JobState, kept: bytes) -> Any:
    """The answer to who asks for the redacted audio."""
    asks = opening(f"/{ID}/redacted-audio", host="api.example:8080")
    question = transcripts.RedactedAudio().ask(asks, b"")
    return question.tell(job(state, b"", asked(**values)), kept, True)


def test_redacted_audio_is_behind_a_url_that_needs_no_key() -> None:
    values = {"redact_pii": True, "redact_pii_audio": True}
    closed = Closed(1_000, 1, "", b"ID3sound\nwith a line end")
    surface = TranscribeCall().negotiate(opening(), wire.write(asked(**values))).surface
    for event in (UNGUIDED, final("Call [PHONE].")):
        surface.emit(event, 0)
    answered = surface.emit(closed, 0)
    assert isinstance(answered, Response)
    kept = TranscriptKind().answered(b"", "", 200, answered.body)
    assert wire.unpack(kept).text == "Call [PHONE]."
    assert wire.audio_of(kept) == closed.redacted_audio

    token = audio_of(values, JobState.DONE, kept)
    assert isinstance(token, ShortToken)
    assert (token.path, token.once) == (f"/v2/transcript/{ID}/redacted-audio/copy", False)
    answer = json.loads(token.tell("pt_1").sends[1])  # type: ignore[arg-type]
    check(types.RedactedAudioResponse, answer)
    assert answer["redacted_audio_url"] == f"http://api.example:8080{token.path}?token=pt_1"

    question = transcripts.RedactedAudioCopy().ask(opening(f"/{ID}/redacted-audio/copy"), b"")
    copy = question.tell(job(JobState.DONE), kept, True)
    assert isinstance(copy, Response)
    assert (copy.body, dict(copy.headers)["content-type"]) == (closed.redacted_audio, "audio/mpeg")
    with pytest.raises(NotFound):
        question.tell(job(JobState.DONE), wire.write(wire.unpack(kept)), True)


@pytest.mark.parametrize(
    ("values", "state", "status"),
    [
        ({"redact_pii": True, "redact_pii_audio": True}, JobState.RUNNING, 202),
        ({"redact_pii": True, "redact_pii_audio": True}, JobState.FAILED, 400),
        ({"redact_pii": True, "redact_pii_audio": True}, JobState.DONE, 400),
        ({"redact_pii": True}, JobState.DONE, 404),
    ],
)
def test_redacted_audio_that_there_is_not(values: dict[str, Any], state: JobState, status: int) -> None:
    told = audio_of(values, state, b"")
    assert isinstance(told, Response)
    assert told.status == status
    assert b'"error"' in told.body


# -- what a recogniser said --------------------------------------------------------------------------------------------


def test_a_transcript_as_it_was_heard() -> None:
    found = result({"keyterms_prompt": ["x"], "prompt": "y"}, final("He ran."), final("She too.", 1_000))
    assert (found.text, found.confidence, found.audio_ms, found.model) == ("He ran. She too.", 0.9, 10_000, "tiny")
    assert (found.language, found.lacks, found.channels, found.utterances) == (
        "en",
        ["prompt", "keyterms_prompt"],
        0,
        [],
    )
    message = shown({"language_code": "en_us", "prompt": "y", "webhook_url": "https://x.example"}, found)
    assert (message["status"], message["text"], message["language_code"]) == ("completed", found.text, "en_us")
    assert message["words"][1] == {"text": "ran.", "start": 100, "end": 200, "confidence": 0.9}
    assert (message["audio_duration"], message["webhook_auth"], message["webhook_url"]) == (
        10,
        False,
        "https://x.example",
    )
    assert "`prompt` has no effect" in str(message["metadata"])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, 'Well, "Ana" said: shit — no.'),
        ({"punctuate": False}, "Well Ana said shit no"),
        ({"format_text": False}, 'well, "ana" said: shit — no.'),
        ({"punctuate": False, "format_text": False}, "well ana said shit no"),
        ({"filter_profanity": True}, 'Well, "Ana" said: s*** — no.'),
        ({"custom_spelling": [{"from": ["ana"], "to": "Anna"}], "format_text": False}, 'well, "Anna" said: shit — no.'),
        ({"custom_spelling": [{"from": ["No.", "“Ana”"], "to": "Nah"}]}, 'Well, "Nah" said: shit — Nah.'),
        ({"custom_spelling": [{"from": "ANA SAID", "to": "they"}], "punctuate": False}, "Well they shit no"),
    ],
)
def test_how_a_text_is_written(values: dict[str, Any], text: str) -> None:
    found = result(values, final('Well, "Ana" said: shit — no.'))
    assert found.text == text
    assert " ".join(word.text for word in found.words) == text


def test_a_part_has_the_times_of_the_whole() -> None:
    (word,) = result({"audio_start_from": 60_000}, final("Hello.", 500)).words
    assert (word.start, word.end) == (60_500, 60_600)


def test_channels_are_utterances_in_order() -> None:
    events = final("No.", 5_000, 1), final("Yes. Yes?", 100, 0), final("", 0, 1)
    message = shown({"multichannel": True}, result({"multichannel": True}, *events, channels=2))
    assert (message["text"], message["audio_channels"]) == ("Yes. Yes? No.", 2)
    said = [(each["channel"], each["speaker"], each["text"], len(each["words"])) for each in message["utterances"]]
    assert said == [("1", "1", "Yes. Yes?", 2), ("2", "2", "No.", 1)]
    assert [word["channel"] for word in message["words"]] == ["1", "1", "2"]


def test_a_language_that_is_heard() -> None:
    values = {"language_detection": True, "language_confidence_threshold": 0.6}
    message = shown(values, result(values, final("Hola.", language="es", sure=0.75)))
    assert (message["language_code"], message["language_confidence"]) == ("es", 0.75)
    for event, words in (
        (final("Hola.", language="es", sure=0.5), "'es' with confidence 0.5000"),
        (final(""), "no language"),
    ):
        step = heard(values, UNGUIDED, event)
        assert isinstance(step, Response)
        assert step.status == 400
        told = shown(values, None, JobState.FAILED, TranscriptKind().answered(b"", "", 400, step.body))
        assert (told["status"], words in told["error"]) == ("error", True)


def test_too_little_speech_is_an_error() -> None:
    assert result({"speech_threshold": 0.02}, final("A b."), audio_ms=10_000).text == "A b."
    step = heard({"speech_threshold": 0.03}, UNGUIDED, final("A b."))
    assert isinstance(step, Response)
    assert "0.0200 is below the requested speech threshold value 0.03" in step.body.decode()


def test_what_fails_says_why_and_what_expires_too() -> None:
    call = TranscribeCall()
    surface = call.negotiate(opening(), wire.write(asked())).surface
    step = surface.emit(Failed(BadMedia("no audio")), 0)
    assert isinstance(step, Response)
    assert shown({}, None, JobState.FAILED, step.body)["error"] == "no audio"
    assert surface.emit(Closed(0, 1, ""), 0) == Step()
    assert shown({}, None, JobState.FAILED, TranscriptKind().failure(EngineError("down")))["error"] == "down"
    assert "in time" in shown({}, None, JobState.EXPIRED)["error"]
    assert shown({}, None, JobState.RUNNING)["status"] == "processing"


def test_a_webhook_is_told_what_became_of_it() -> None:
    secret = {"webhook_auth_header_name": "X-Mine", "webhook_auth_header_value": "s"}
    values = {"webhook_url": "https://x.example/hook", **secret}
    message = shown(values, None, JobState.RUNNING)
    assert message["webhook_auth"]
    assert not secret.keys() & message.keys()
    kind = TranscriptKind()
    for state, status in ((JobState.DONE, "completed"), (JobState.EXPIRED, "error")):
        notice = kind.notice(job(state, settled=asked(**values)), b"")
        assert notice is not None
        assert json.loads(notice.body) == {"transcript_id": ID, "status": status}
        assert notice.signed(7, "ab") == {
            "content-type": "application/json", "X-Mine": "s", "antiphon-signature": "t=7,v1=ab"
        }  # fmt: skip
        assert "antiphon-signature" not in notice.signed(7, "")
    assert kind.notice(job(JobState.DONE), b"") is None


# -- views -------------------------------------------------------------------------------------------------------------

SAID = "One two. Three four? | Five six seven eight. Mr. Nine."


def viewed(
    endpoint: Endpoint, path: str, query: Sequence[tuple[str, str]] = (), said: str = SAID, **values: Any
) -> Response:
    asking = opening(f"/{ID}/{path}", query)
    question = endpoint.ask(asking, b"")  # type: ignore[attr-defined]
    assert question.id == ID
    try:
        step = question.tell(job(), wire.write(result(values, final(said))), True)
    except AntiphonError as error:
        step = endpoint.refuse(asking, error)
    assert isinstance(step, Response)
    return step


def test_sentences_and_paragraphs() -> None:
    sentences = json.loads(viewed(transcripts.SentencesView(), "sentences").body)
    check(types.SentencesResponse, sentences, beside=("id",))
    texts = [each["text"] for each in sentences["sentences"]]
    assert texts == ["One two.", "Three four?", "Five six seven eight.", "Mr. Nine."]
    assert sentences["sentences"][1]["start"] == 200
    found = json.loads(viewed(transcripts.ParagraphsView(), "paragraphs").body)
    check(types.ParagraphsResponse, found, beside=("id",))
    assert [each["text"] for each in found["paragraphs"]] == [SAID.split(" | ")[0], SAID.split(" | ")[1]]
    plain = json.loads(viewed(transcripts.SentencesView(), "sentences", punctuate=False).body)
    assert [each["text"] for each in plain["sentences"]] == ["One two Three four", "Five six seven eight Mr Nine"]
    many = [word for number in range(7) for word in result({}, final("A b.", number * 200)).words]
    assert [len(each.words) for each in passages.paragraphs(many)] == [10, 4]
    assert passages.sentences([]) == passages.paragraphs([]) == []


def test_subtitles() -> None:
    step = viewed(transcripts.Subtitles(), "srt", (("chars_per_caption", "8"),))
    assert step.body.decode().split("\n\n")[:3] == [
        "1\n00:00:00,000 --> 00:00:00,200\nOne two.",
        "2\n00:00:00,200 --> 00:00:00,300\nThree",
        "3\n00:00:00,300 --> 00:00:00,400\nfour?",
    ]
    whole = viewed(transcripts.Subtitles(), "vtt").body.decode()
    assert whole.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.200\nOne two.\n\n")
    assert viewed(transcripts.Subtitles(), "vtt", (("chars_per_caption", "0"),)).status == 400


def test_words_are_found_whatever_their_case() -> None:
    query = (("words", "two, ONE TWO,four?,nothing,  ,two"),)
    found = json.loads(viewed(transcripts.WordSearch(), "word-search", query).body)
    check(types.WordSearchMatchResponse, found, beside=("id",))
    assert found["total_count"] == 3
    assert found["matches"][1] == {"text": "ONE TWO", "count": 1, "timestamps": [[0, 200]], "indexes": [0]}
    for words in ("", ",".join(map(str, range(101)))):
        assert viewed(transcripts.WordSearch(), "word-search", (("words", words),)).status == 400


def test_there_is_no_redacted_audio_and_no_view_before_the_end() -> None:
    assert viewed(transcripts.RedactedAudio(), "redacted-audio").status == 404
    endpoint = transcripts.SentencesView()
    question = endpoint.ask(opening(f"/{ID}/sentences"), b"")
    with pytest.raises(CallerError, match="status of 'processing'"):
        question.tell(job(JobState.RUNNING), b"", True)
    assert refusal(endpoint, NotFound("Job not found.")) == (404, "Transcript lookup error, transcript id not found")


def test_what_is_deleted_is_shown_empty() -> None:
    question = transcripts.DeleteTranscript().ask(opening(f"/{ID}"), b"")
    assert isinstance(question, OneJob)
    assert (question.act, question.id) == (JobAct.DELETE, ID)
    step = question.tell(job(settled=asked(prompt="secret")))
    assert isinstance(step, Response)
    message = json.loads(step.body)
    check(types.TranscriptResponse, message)
    assert (message["text"], message["audio_url"], message["words"]) == (
        "Deleted by user.",
        "http://deleted_by_user",
        None,
    )
    assert "secret" not in step.body.decode()


# -- lists -------------------------------------------------------------------------------------------------------------


def listed(query: Sequence[tuple[str, str]], *found: Job, more: bool = False) -> tuple[Page, Any]:
    question = ListTranscripts().ask(opening(query=query), b"")
    assert isinstance(question, ManyJobs)
    step = question.tell(found, more)
    assert isinstance(step, Response)
    message = json.loads(step.body)
    check(types.ListTranscriptResponse, message)
    return question.page, message


def test_a_list_leads_to_older_ones_and_to_newer_ones() -> None:
    failed = job(JobState.FAILED, b'{"error":"bad"}', id="b")
    page, told = listed((("limit", "2"), ("status", "")), job(id="c"), failed, more=True)
    assert page == Page("", 2)
    assert told["page_details"] == {
        "limit": 2, "result_count": 2, "current_url": "/v2/transcript?limit=2",
        "prev_url": "/v2/transcript?limit=2&before_id=b", "next_url": None,
    }  # fmt: skip
    assert told["transcripts"][1]["error"] == "bad"
    assert told["transcripts"][0]["created"] == "2024-08-29T23:37:55.202Z"
    page, told = listed((("before_id", "b"), ("status", "completed")), job(id="a"))
    assert page == Page("b", 10)
    details = told["page_details"]
    assert (details["prev_url"], details["next_url"]) == (None, "/v2/transcript?limit=10&status=completed&after_id=a")
    page, told = listed((("after_id", "a"),), job(id="b"), job(id="c"), more=True)
    assert page == Page("a", 10, newest_first=False)
    assert [each["id"] for each in told["transcripts"]] == ["c", "b"]
    assert "before_id=b" in told["page_details"]["prev_url"]
    assert "after_id=c" in told["page_details"]["next_url"]


def test_a_list_of_a_day_and_of_a_status() -> None:
    question = ListTranscripts().ask(opening(query=(("created_on", "2024-08-29"), ("status", "error"))), b"")
    assert isinstance(question, ManyJobs)
    assert question.page.until_unix_ms - question.page.since_unix_ms == 86_400_000
    assert question.page.since_unix_ms <= NOW < question.page.until_unix_ms
    assert question.states == {JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED}
    none = ListTranscripts().ask(opening(query=(("throttled_only", "true"),)), b"")
    assert isinstance(none, Response)
    assert json.loads(none.body)["transcripts"] == []
    for query in (
        {"limit": "201"}, {"status": "done"}, {"created_on": "yesterday"}, {"before_id": "a", "after_id": "b"},
        {"newest": "true"},
    ):  # fmt: skip
        with pytest.raises(CallerError):
            ListTranscripts().ask(opening(query=tuple(query.items())), b"")
    assert refusal(ListTranscripts(), NotFound("Nothing", param="after"))[0] == 400


# -- anything ----------------------------------------------------------------------------------------------------------

names = st.sampled_from([row.name for row in parameters.TABLE]) | st.text(max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(names, json_values, max_size=6) | json_values)
def test_any_body_is_a_job_or_refused(body: Any) -> None:
    for raw in (json.dumps(body).encode(), str(body).encode(errors="ignore")):
        try:
            question: NewJob = transcripts.CreateTranscript().ask(opening(), raw)
        except CallerError as error:
            refusal(transcripts.CreateTranscript(), error)
            continue
        assert TranscriptKind().item(question.request).path == "/v2/transcript"
        TranscriptKind().notice(job(settled=wire.settled.decode(question.request)), b"")


@given(
    st.sampled_from(
        [{}, {"punctuate": False}, {"multichannel": True}, {"format_text": False, "filter_profanity": True}]
    ),
    st.lists(
        st.builds(
            lambda said, at, channel: final(" ".join(said), at, channel),
            st.lists(st.sampled_from(["Hi.", "shit", "—", "O'Neil,", "中文。", "x"]), max_size=6),
            st.integers(0, 10**6),
            st.integers(0, 2),
        ),
        max_size=5,
    ),
)
def test_any_recording_has_every_view(values: dict[str, Any], finals: list[Final]) -> None:
    interim = Interim(0, 0, 1, Transcript("x", 0.5))
    found = result(values, interim, *finals, channels=3)
    shown(values, found)
    for cut in (passages.sentences(found.words), passages.paragraphs(found.words)):
        assert [word for each in cut for word in each.words] == found.words
    cues = list(passages.captions(found.words, 3))
    assert " ".join(text for _, _, text in cues).split() == [w for word in found.words for w in word.text.split()]


def test_long_captions_of_a_long_recording_take_little_time() -> None:
    said = [wire.Word("word", n, n, 1.0) for n in range(40_000)]
    began = process_time()
    assert len(list(passages.captions(said, transcripts.MAX_CAPTION_CHARS))) == 200
    assert process_time() - began < 2  # to join a caption anew for each word takes ten seconds


def test_many_words_are_looked_for_in_little_time() -> None:
    said = [wire.Word(f"word{n % 3_000}", n, n, 1.0) for n in range(100_000)]
    wanted = [f"said{n} once" for n in range(transcripts.MAX_WORDS - 1)]
    began = process_time()
    (match,) = passages.matches(said, [*wanted, "Word7, word8"])
    assert process_time() - began < 2  # to try each phrase at each word takes five seconds
    assert match.indexes == list(range(7, 100_000, 3_000))


def test_a_list_of_large_requests_takes_little_time() -> None:
    large = wire.Settled(URL, "", {"word_boost": [f"w{n}" for n in range(40_000)]})
    jobs = [job(settled=large, id=f"id{n}") for n in range(1_000)]
    began = process_time()
    _, message = listed((), *jobs)
    assert process_time() - began < 2  # to read all of each takes several seconds
    assert {each["audio_url"] for each in message["transcripts"]} == {URL}


# Fields of the SDK's transcript that are never filled, or only by what is refused.
NEVER = {"language_detection_results", "webhook_status_code"}
OF_THE_REFUSED = {
    *("auto_highlights_result", "chapters", "content_safety_labels", "entities", "iab_categories_result"),
    *("sentiment_analysis_results", "summary", "translated_texts"),
    *("unredacted_text", "unredacted_utterances", "unredacted_words"),
}


def test_what_the_sdk_reads_in_a_transcript_is_filled_or_said_not_to_be() -> None:
    result = wire.Result("hi", 0.9, [], [], 1_000, 2, "en", 0.9, "tiny", [])
    told = transcripts.transcript(job(), asked(language_detection=True), result)
    given_back = {row.name for row in parameters.TABLE}
    assert set(types.TranscriptResponse.__fields__) - given_back - set(told) - {"metadata"} == NEVER | OF_THE_REFUSED
    page = (Path(__file__).parents[3] / "docs" / "surfaces" / "assemblyai.md").read_text()
    assert all(f"`{name}`" in page for name in NEVER)
    views = (wire.Sentences, types.SentencesResponse), (wire.Paragraphs, types.ParagraphsResponse)
    for ours, theirs in views:
        assert set(theirs.__fields__) <= set(ours.__struct_fields__)
