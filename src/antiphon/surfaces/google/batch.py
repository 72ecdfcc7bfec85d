"""`BatchRecognize` of v2 and `LongRunningRecognize` of v1: recordings that are transcribed in the background. Each call
is a job, each recording an item of it; the operation shows their results (`operations.py`).

The request is checked at once; whether a recording can be fetched and decoded is known when it runs. In v2 such an
error concerns this recording alone, since the result has an error for each; in v1 it is the error of the operation.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from antiphon.core.endpoints import Accepted, NeedsResource
from antiphon.core.errors import AntiphonError, CallerError, UnsupportedParameter
from antiphon.core.events import Closed, Final
from antiphon.core.jobs import Checker, InputCheck, ItemCall, JobState, NewJob
from antiphon.core.specs import TranscribeSpec
from antiphon.core.subtitles import srt, vtt
from antiphon.core.wire import Opening, Response, Step, Url, no_effect
from antiphon.surfaces.google import messages, names, v1, v2
from antiphon.surfaces.google import request as r
from antiphon.surfaces.google.adaptation import adapted
from antiphon.surfaces.google.dialect import MAX_RECORDING_BYTES, V1, V2, written
from antiphon.surfaces.google.endpoint import Endpoint, LookupMethod, Rest
from antiphon.surfaces.google.operation import FIRST_KIND, KIND, Begun, Line, operation
from antiphon.surfaces.google.recognise import JSON_BYTES, SLACK_BYTES, Recognizing
from antiphon.surfaces.google.recognizer import referring
from antiphon.surfaces.google.status import HTTP, Code, status

MAX_FILES = 15  # Google's own
WINDOW_S = 86_400
MAX_LINE_BYTES = JSON_BYTES + SLACK_BYTES
OUT_OF_REACH = "Nothing is written to Cloud Storage: use `inline_response_config`. Results stay with the operation."


class Input(Struct, frozen=True):
    """A line of a job's input: a recording, and a request of its own about it."""

    uri: str
    model: str
    request: bytes


class Named(Struct, frozen=True):
    """The part of a line that its result repeats."""

    uri: str


_INPUT = msgspec.json.Decoder(Input)
_NAMED = msgspec.json.Decoder(Named)  # skips the other fields, which may be large


# -- the calls ---------------------------------------------------------------------------------------------------------


class BatchRecognize(LookupMethod):
    """The method of v2."""

    request = V2.name("BatchRecognizeRequest")

    def ask(self, opening: Opening, body: bytes) -> NewJob | NeedsResource[NewJob]:
        message = self.read(opening, body)
        make = partial(self._job, opening, message, message.SerializeToString())
        return referring(v2.stored(message), v2.configs(message), make)

    def _job(self, opening: Opening, message: Any, sent: bytes, base: Any) -> NewJob:
        """Return the job to create. Raises `CallerError`."""
        uris = [file.uri for file in message.files]
        if not 0 < len(uris) <= MAX_FILES or len(set(uris)) < len(uris) or not all(uris):
            raise CallerError(f"`files` must be 1 to {MAX_FILES}, each with a `uri` of its own.", param="files")
        if message.recognition_output_config.HasField("gcs_output_config"):
            raise UnsupportedParameter(OUT_OF_REACH, param="recognition_output_config.gcs_output_config")
        parent = names.recognizer(message.recognizer)[0]
        base = v2.effective(base, message)
        lines: list[Input] = []
        neglected = ["processing_strategy"] if message.processing_strategy else []  # nothing is cheaper if it is later
        for file in message.files:
            config = v2.effective(base, file)
            neglected += v2.request_of(config, Url(file.uri)).without_effect
            own = type(message)(recognizer=f"{parent}/recognizers/{names.IMPLICIT}", config=config)
            own.files.add(uri=file.uri)
            own.recognition_output_config.CopyFrom(message.recognition_output_config)
            lines.append(Input(file.uri, config.model or v2.DEFAULT_MODEL, own.SerializeToString()))
        name = f"{parent}/operations/{opening.new_id}"
        begun, headers = Begun(sent, uris), no_effect(dict.fromkeys(neglected))
        return _job(KIND, name, begun, lines, lambda job: self.answer(opening, operation(job), headers))


class LongRunningRecognize(LookupMethod):
    """The method of v1."""

    request = V1.name("LongRunningRecognizeRequest")

    def __init__(self, *, first: bool = True, rest: Rest | None = None) -> None:
        super().__init__(first=first, rest=rest)
        self.max_body_bytes = JSON_BYTES if rest else MAX_RECORDING_BYTES + SLACK_BYTES

    def ask(self, opening: Opening, body: bytes) -> NewJob | NeedsResource[NewJob]:
        message = self.read(opening, body)
        return adapted(v1.configs(message), partial(self._job, opening, message))

    def _job(self, opening: Opening, message: Any) -> NewJob:
        """Return the job to create. Raises `CallerError`."""
        if message.output_config.gcs_uri:
            raise UnsupportedParameter("Nothing is written to Cloud Storage.", param="output_config.gcs_uri")
        request, _ = V1.recognise(message, MAX_RECORDING_BYTES, None)
        headers = no_effect(request.without_effect)
        model, uri, sent = message.config.model or v1.DEFAULT_MODEL, message.audio.uri, message.SerializeToString()
        message.ClearField("audio")
        begun = Begun(message.SerializeToString(), [uri])
        name = str(int(opening.new_id.replace("-", ""), 16) % (1 << 63))
        lines = [Input(uri, model, sent)]
        return _job(FIRST_KIND, name, begun, lines, lambda job: self.answer(opening, operation(job), headers))


def _job(kind: str, name: str, begun: Begun, lines: Sequence[Input], tell: Any) -> NewJob:
    blobs = (f"{name} {what}" for what in ("input", "output", "errors"))
    encoded = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    input_, output, errors = blobs
    return NewJob(
        kind=kind,
        id=name,
        request=msgspec.json.encode(begun),
        input=input_,
        input_purpose="",
        output=output,
        errors=errors,
        window_s=WINDOW_S,
        output_s=0,
        tell=tell,
        data=encoded,
    )


# -- their items -------------------------------------------------------------------------------------------------------


class _Item(Endpoint):
    """The call of a job's item; clients cannot make it. It is answered with a message, or a status, as bytes."""

    def answer(self, opening: Opening, message: Any, headers: tuple[tuple[str, str], ...] = ()) -> Step:
        return Response(200, (), message.SerializeToString())

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        rpc_status = status(opening, error, first=self.first)
        return Response(HTTP[Code(rpc_status.code)], (), rpc_status.SerializeToString())


class FileOfBatch(_Item):
    """An item of `BatchRecognize`: a request with this file alone."""

    request = V2.name("BatchRecognizeRequest")
    max_body_bytes = SLACK_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> Accepted[TranscribeSpec]:
        message = self.read(opening, body)
        audio = r.media(None, message.files[0].uri, MAX_RECORDING_BYTES)
        request = v2.request_of(message.config, audio)
        formats = message.recognition_output_config.output_format_config
        return Accepted(request.spec(live=False), _FileResult(self, V2, request, opening, formats), media=audio)


class _FileResult(Recognizing):
    """The result of one file, with subtitles if requested."""

    def __init__(self, *arguments: Any) -> None:
        *usual, self._formats = arguments
        super().__init__(*usual)

    def _answer(self, finals: list[Final], closed: Closed) -> Any:
        bill = self._bill(closed)
        made = messages.kind(V2.name("BatchRecognizeFileResult"))(metadata=bill["metadata"])
        # Older clients read `transcript`, and so do Google's own samples.
        for transcript in (made.inline_result.transcript, made.transcript):
            transcript.results.extend(self._results(finals))
            transcript.metadata.CopyFrom(bill["metadata"])
        punctuation = self._request.features.punctuation
        cues = [(final.start_ms, final.end_ms, written(final.transcript, punctuation)) for final in finals]
        if self._formats.HasField("vtt"):
            made.inline_result.vtt_captions = vtt(cues)
        if self._formats.HasField("srt"):
            made.inline_result.srt_captions = srt(cues)
        return made


class RecordingOfOperation(_Item):
    """The item of `LongRunningRecognize`."""

    request = V1.name("LongRunningRecognizeRequest")
    max_body_bytes = JSON_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> Accepted[TranscribeSpec]:
        request, audio = V1.recognise(self.read(opening, body), MAX_RECORDING_BYTES, None)
        return Accepted(request.spec(live=False), _Result(self, V1, request, opening), media=audio)


class _Result(Recognizing):
    def _answer(self, finals: list[Final], closed: Closed) -> Any:
        kind = messages.kind(V1.name("LongRunningRecognizeResponse"))
        return kind(results=self._results(finals), **self._bill(closed))


class RecognitionKind:
    """Implements `core.jobs.JobKind`. `path` is the path of its items' calls."""

    surface = "google"
    output_purpose = ""
    max_line_bytes = MAX_LINE_BYTES

    def __init__(self, path: str, *, first: bool) -> None:
        self._path = path
        self._first = first

    def checker(self, request: bytes) -> Checker:
        return _Checker()

    def item(self, line: bytes) -> ItemCall:
        item = _INPUT.decode(line)
        return ItemCall(self._path, item.request, item.model)

    def answered(self, line: bytes, session: str, status: int, body: bytes) -> bytes:
        return msgspec.json.encode(Line(_NAMED.decode(line).uri, body)) + b"\n"

    def unanswered(self, line: bytes, session: str, why: JobState) -> bytes:
        return self.answered(line, session, 0, b"")

    def failure(self, error: AntiphonError) -> bytes:
        body: bytes = status(Opening("POST", self._path), error, first=self._first).SerializeToString()
        return body


class _Checker:
    """A checker that only counts, since the server wrote the lines itself."""

    def __init__(self) -> None:
        self._total = 0

    def read(self, number: int, line: bytes) -> None:
        self._total += 1

    def finish(self) -> InputCheck:
        return InputCheck(self._total, True, b"")
