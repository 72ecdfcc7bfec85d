"""The lines of a batch: requests in its input, answers in its output and its error file.

The whole input is checked before anything runs: one wrong line fails the batch, and nothing is charged. A line's `body`
is checked when the line runs, and concerns that line alone. A stream, or an answer in the background, could not be
delivered: such a line is refused.

A line of an endpoint that takes a recording has the fields of its form, as JSON, and in place of the form's file either
`file`, the id of an uploaded one, or `url`, where the server fetches it.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from antiphon.core.errors import AntiphonError, CallerError, UnsupportedParameter
from antiphon.core.jobs import Checker, InputCheck, ItemCall, JobState, LineSubject
from antiphon.core.tags import SUBJECT
from antiphon.surfaces.openai import generation as shared
from antiphon.surfaces.openai import wire
from antiphon.surfaces.openai.batch_wire import BatchError, LineError, LineResponse, ResultLine
from antiphon.surfaces.openai.files import INPUT, OUTPUT

KIND = "openai.batch"
AUDIO = ("/v1/audio/transcriptions", "/v1/audio/translations")
MAX_LINES = 50_000  # OpenAI's own
MAX_LINE_BYTES = 4 << 20
MAX_CUSTOM_ID = 256
MAX_ERRORS = 100  # reported per batch
REQUEST_PREFIX = "batch_req_"

_WHY = {
    JobState.CANCELLED: LineError("batch_cancelled", "This request was not executed before the batch was cancelled."),
    JobState.EXPIRED: LineError(
        "batch_expired", "This request could not be executed before the completion window expired."
    ),
    JobState.FAILED: LineError("request_erased", "This request was erased, with what was kept about a person."),
}


class Settled(Struct, frozen=True):
    """The settings of a batch."""

    endpoint: str
    metadata: dict[str, str] | None = None


class Remarks(Struct, frozen=True):
    """Results of the check: the model, if all lines name the same one, and the errors."""

    model: str = ""
    errors: list[BatchError] = []


class _Line(Struct, frozen=True):
    custom_id: str
    method: str
    url: str
    body: Raw


class _Named(Struct, frozen=True):
    custom_id: str = ""  # of an erased line


class _Sender(Struct, frozen=True):
    """The fields of a body that say whom it is about. Of any type: what no call would take may be about somebody."""

    metadata: Any = None
    safety_identifier: Any = None
    user: Any = None


class _Kept(Struct, frozen=True):
    """A line of any of the files."""

    custom_id: Any = ""
    body: Raw = Raw(b"{}")


class _Body(Struct, frozen=True):
    """The fields that are checked before a call is made. What is of a wrong type, the endpoint refuses."""

    model: Any = ""
    stream: Any = None
    background: Any = None
    file: Any = ""


_LINE = msgspec.json.Decoder(_Line)
_NAMED = msgspec.json.Decoder(_Named)
_BODY = msgspec.json.Decoder(_Body)
_KEPT = msgspec.json.Decoder(_Kept)
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_SENDER = msgspec.json.Decoder(_Sender)
_SETTLED = msgspec.json.Decoder(Settled)


class BatchKind:
    """Implements `core.jobs.SubjectKind`."""

    surface = "openai"
    output_purpose = OUTPUT
    input_purpose = INPUT
    max_line_bytes = MAX_LINE_BYTES

    def checker(self, request: bytes) -> Checker:
        return _Checker(_SETTLED.decode(request).endpoint)

    def item(self, line: bytes) -> ItemCall:
        request = _LINE.decode(line)
        try:
            body = _BODY.decode(request.body)
        except shared.NOT_JSON:
            return ItemCall(request.url, bytes(request.body))  # the endpoint reports errors
        refusal = None
        for name, value in (("stream", body.stream), ("background", body.background)):
            if value is True or (isinstance(value, str) and value.lower() == "true"):  # a text, where it is a form's
                refusal = UnsupportedParameter(f"'{name}' is not supported in a batch.", param=name)
        recording = body.file if request.url in AUDIO and isinstance(body.file, str) else ""
        return ItemCall(request.url, bytes(request.body), _model(body), refusal, recording)

    def answered(self, line: bytes, session: str, status: int, body: bytes) -> bytes:
        response = LineResponse(status, session, Raw(_as_json(body)))
        return _result(line, session, response, None)

    def unanswered(self, line: bytes, session: str, why: JobState) -> bytes:
        return _result(line, session, None, _WHY[why])

    def about(self, line: bytes) -> LineSubject | None:
        if _erased(line):
            return LineSubject(erased=True)
        try:
            kept = _KEPT.decode(line)
            body = _SENDER.decode(kept.body)
        except shared.NOT_JSON:
            return None
        named = body.metadata.get(SUBJECT) if isinstance(body.metadata, dict) else None
        subjects = (each for each in (named, body.safety_identifier, body.user) if each and isinstance(each, str))
        return LineSubject(next(subjects, ""), kept.custom_id if isinstance(kept.custom_id, str) else "")

    def failure(self, error: AntiphonError) -> bytes:
        fields = wire.error_body(error).error
        return wire.encode(Remarks(errors=[BatchError(fields.code or error.code, fields.message, param=fields.param)]))


def _model(body: _Body) -> str:
    return body.model if isinstance(body.model, str) else ""


def _as_json(body: bytes) -> bytes:
    """Return an answer as JSON: an object as it is; subtitles and plain text, which may begin like one, as a text."""
    if not body:
        return b"null"
    try:
        _OBJECT.decode(body)
    except shared.NOT_JSON:
        return wire.encode(body.decode())
    return body


def _erased(line: bytes) -> bool:
    """Return whether a line was erased. `{}` alone is a caller's."""
    return len(line) > 2 and line.rstrip(b" ") == b"{}"


def _result(line: bytes, session: str, response: LineResponse | None, error: LineError | None) -> bytes:
    id = REQUEST_PREFIX + session.replace("-", "")
    return wire.encode(ResultLine(id, _NAMED.decode(line).custom_id, response, error)) + b"\n"


class _Checker:
    """Implements `core.jobs.Checker`."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._total = 0
        self._errors: list[BatchError] = []
        self._seen: set[str] = set()
        self._models: set[str] = set()

    def read(self, number: int, line: bytes) -> None:
        self._total += 1
        if self._total > MAX_LINES or len(self._errors) >= MAX_ERRORS or _erased(line):
            return
        try:
            self._check(line)
        except CallerError as error:
            code = error.code if error.param else "invalid_json_line"
            self._errors.append(BatchError(code, error.message, number + 1, error.param))

    def finish(self) -> InputCheck:
        if not self._total:
            self._errors.append(BatchError("empty_file", "The input file holds no requests."))
        if self._total > MAX_LINES:
            self._errors.append(BatchError("too_many_requests", f"A batch can have at most {MAX_LINES} requests."))
        model = next(iter(self._models)) if len(self._models) == 1 else ""
        return InputCheck(self._total, not self._errors, wire.encode(Remarks(model, self._errors)))

    def _check(self, line: bytes) -> None:
        """Check one line. Raises `CallerError`."""
        request = shared.decode(_LINE, line)
        if not 0 < len(request.custom_id) <= MAX_CUSTOM_ID:
            raise CallerError(f"'custom_id' must have 1 to {MAX_CUSTOM_ID} characters.", param="custom_id")
        if request.custom_id in self._seen:
            raise _Duplicate("The custom_id of this line is that of another line.", param="custom_id")
        if request.method != "POST":
            raise CallerError("'method' must be 'POST'.", param="method")
        if request.url != self._endpoint:
            raise _Mismatch(f"'url' must be the batch's endpoint, '{self._endpoint}'.", param="url")
        if not bytes(request.body).startswith(b"{"):
            raise CallerError("'body' must be an object.", param="body")
        self._seen.add(request.custom_id)
        try:
            self._models.add(_model(_BODY.decode(request.body)))
        except shared.NOT_JSON:
            self._models.add("")


class _Duplicate(CallerError):
    code = "duplicate_custom_id"


class _Mismatch(CallerError):
    code = "mismatched_endpoint"
