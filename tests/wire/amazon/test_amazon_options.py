"""Options whose effect a script does not show, and streams that are not supported."""

import inspect

import pytest
from amazon_transcribe.client import TranscribeStreamingClient
from amazon_transcribe.eventstream import EventStreamBuffer
from signed_by_hand import OPTIONS, audio, posted, presigned

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.events import Audio, Cause, End, Final, Opened, Transcript
from antiphon.core.redaction import Entity, Identified
from antiphon.core.wire import Response
from antiphon.routes import ROUTES
from antiphon.surfaces.amazon.absent import PATHS, AbsentSocket, AbsentStream
from antiphon.surfaces.amazon.live import SocketEndpoint, StreamEndpoint
from antiphon.surfaces.amazon.parameters import TABLE, read
from antiphon.surfaces.amazon.results import Utterances


def test_the_table_has_every_option_of_the_sdk():
    names = set(inspect.signature(TranscribeStreamingClient.start_stream_transcription).parameters) - {"self"}
    sent_as = {name: name.replace("_", "-").replace("vocab-", "vocabulary-") for name in names}
    sent_as["media_sample_rate_hz"] = "sample-rate"
    assert set(sent_as.values()) <= {row.name for row in TABLE}


def asked(types, how="content-redaction-type"):
    return read(posted({**OPTIONS, how: "PII", "pii-entity-types": types}))


@pytest.mark.parametrize(
    ("types", "entity", "label"),
    [
        ("PASSPORT_NUMBER", Entity.PASSPORT, "PASSPORT_NUMBER"),
        ("PASSWORD", Entity.PASSWORD, "PASSWORD"),
        ("LICENSE_PLATE", Entity.LICENCE, "LICENSE_PLATE"),
        ("NAME,VEHICLE_IDENTIFICATION_NUMBER", Entity.LICENCE, "VEHICLE_IDENTIFICATION_NUMBER"),
        ("BANK_ROUTING", Entity.BANK, "BANK_ROUTING"),
        ("BANK_ROUTING, BANK_ACCOUNT_NUMBER", Entity.BANK, "BANK_ACCOUNT_NUMBER"),
        ("ALL", Entity.BANK, "BANK_ACCOUNT_NUMBER"),
        ("ALL", Entity.LICENCE, "PII"),
        ("ALL", Entity.DATE_OF_BIRTH, "DATE_TIME"),
        ("ALL", Entity.IP, "PII"),
        ("ADDRESS", Entity.PLACE, "ADDRESS"),
    ],
)
def test_personal_data_is_named_as_it_was_requested(types, entity, label):
    hidden, told = asked(types), asked(types, "content-identification-type")
    assert entity in hidden.redaction.entities
    assert dict(hidden.redaction.labels)[entity] == label
    found = Transcript("it", 0.9, entities=(Identified(entity, "it", 0, 100, 0.9),))
    result = Utterances(told, "id", 0).result(Final(0, 0, 100, found, Cause.END))
    assert [each.type for each in result.alternatives[0].entities] == [label]


@pytest.mark.parametrize("types", ["AGE", "USERNAME", "DATE_TIME", "NAME,AGE", "name"])
def test_what_nothing_finds_is_refused(types):
    with pytest.raises(UnsupportedParameter, match="is not supported: nothing here finds that"):
        asked(types)


def test_entities_are_told_only_to_those_who_asked():
    result = Utterances(read(posted()), "id", 0).result(Final(0, 0, 100, Transcript("it", 0.9), Cause.END))
    assert result.alternatives[0].entities is None


@pytest.mark.parametrize("options", ["en-US,", ",", "en-US,en-US"])
def test_one_language_is_not_several(options):
    given = {"identify-language": "true", "language-options": options, "sample-rate": "16000", "media-encoding": "pcm"}
    with pytest.raises(CallerError, match="language-options must be 2"):
        read(posted(given))


@pytest.mark.parametrize("path", PATHS)
def test_other_streams_are_refused_by_an_exception_that_the_sdks_know(path):
    rows = {row.path: row for row in ROUTES}
    stream, socket = rows[path].endpoint, rows[f"{path}-websocket"].endpoint
    assert (type(stream), type(socket)) == (AbsentStream, AbsentSocket)
    assert rows[path].duplex
    assert stream.credential(posted()) == StreamEndpoint().credential(posted())
    with pytest.raises(UnsupportedParameter) as refused:
        stream.negotiate(posted())
    answer = stream.refuse(posted(), refused.value)
    assert isinstance(answer, Response)
    assert (answer.status, dict(answer.headers)["x-amzn-errortype"]) == (400, "BadRequestException")
    step = socket.refuse(presigned(), refused.value)
    events = EventStreamBuffer()
    events.add_data(step.sends[0])
    assert next(iter(events)).headers[":exception-type"] == "BadRequestException"
    assert step.close.code == 1008


def test_the_audio_of_many_small_events_in_a_message_is_one_input():
    """Each by itself would be decoded and heard before the connection lets another one's work begin."""
    stream = SocketEndpoint().negotiate(presigned(OPTIONS)).surface
    stream.emit(Opened("model"), 0)
    events = [audio(bytes((n % 256, 1))) for n in range(1_000)]
    step = stream.receive(b"".join(events), 0)
    assert step.inputs == (Audio(b"".join(bytes((n % 256, 1)) for n in range(1_000))),)
    assert stream.receive(events[0] + audio(b""), 0).inputs == (Audio(b"\0\1"), End())
    assert stream.receive(events[0], 0).inputs == ()
