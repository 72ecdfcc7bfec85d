"""A body by its content type: a form of one file and some fields (RFC 7578), or plain.

A file of hundreds of megabytes is searched and copied a piece at a time: Python lets no other thread go on within one
such step, and every stream of the server would stand still.
"""

from io import BytesIO

from python_multipart.multipart import parse_options_header

from antiphon.core.errors import BadMedia, CallerError
from antiphon.core.wire import Body

MAX_FIELDS = 1_200  # ElevenLabs' SDKs send each of up to 1,000 words to listen for as a field
MAX_FIELD_BYTES = 1 << 20
MAX_PART_HEAD_BYTES = 16 * 1024
MAX_BOUNDARY_BYTES = 256  # RFC 2046 has 70
PIECE_BYTES = 1 << 20


def read_body(content_type: str, raw: bytes, file_name: str = "file") -> Body:
    """Parse a body; `file_name` is the name of a form's file part. Slow for a large body. Raises `CallerError`."""
    kind, parameters = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return Body(data=raw, has_file=bool(raw))
    boundary = parameters.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        raise _malformed("it has no boundary, or one that is too long")
    fields: list[tuple[str, str]] = []
    file: tuple[str, str, int, int] | None = None
    for head, begin, end in _parts(raw, boundary):
        name, filename = _disposition(head)
        # A file's own name is recommended, not required: RFC 7578, section 4.2.
        if filename is not None or name == file_name:
            if file:
                raise _malformed("it has more than one file")
            file = (name, filename or "", begin, end)
        elif end - begin > MAX_FIELD_BYTES:
            raise _malformed(f"a field is larger than {MAX_FIELD_BYTES} bytes")
        elif len(fields) >= MAX_FIELDS:
            raise _malformed(f"it has more than {MAX_FIELDS} fields")
        else:
            fields.append((name, _text(raw[begin:end])))
    if file is None:
        return Body(fields=tuple(fields))
    name, filename, begin, end = file
    if name != file_name:
        raise BadMedia(f"The audio belongs in the part named '{file_name}'.", param=name[:64])
    return Body(_copied(raw, begin, end), tuple(fields), filename, has_file=True)


def _parts(raw: bytes, boundary: bytes) -> list[tuple[bytes, int, int]]:
    """Return the head of each part, and the span of its content (RFC 2046 section 5.1.1)."""
    dashed = b"--" + boundary
    delimiter = b"\r\n" + dashed
    at = 0 if raw.startswith(dashed) else _find(raw, delimiter, 0)
    if at < 0:
        raise _malformed("it has no part")
    at += len(dashed) if at == 0 and raw.startswith(dashed) else len(delimiter)
    parts: list[tuple[bytes, int, int]] = []
    while raw[at : at + 2] != b"--":
        line_end = raw.find(b"\r\n", at, at + MAX_PART_HEAD_BYTES)
        if line_end < 0 or raw[at:line_end].strip(b" \t"):
            raise _malformed("what follows on a boundary is no part")
        head_end = raw.find(b"\r\n\r\n", line_end, line_end + MAX_PART_HEAD_BYTES)
        if head_end < 0:
            raise _malformed("a part has no end of its head")
        end = _find(raw, delimiter, head_end + 4)
        if end < 0:
            raise _malformed("it ends before its last boundary")
        if len(parts) > MAX_FIELDS:
            raise _malformed("it has too many parts")
        parts.append((raw[line_end + 2 : head_end], head_end + 4, end))
        at = end + len(delimiter)
    return parts


def _disposition(head: bytes) -> tuple[str, str | None]:
    """Return a part's name, and its file name, if any."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            kind, parameters = parse_options_header(value.strip())
            if kind == b"form-data" and b"name" in parameters:
                filename = parameters.get(b"filename")
                return _text(parameters[b"name"]), None if filename is None else _text(filename)
    raise _malformed("a part has no name")


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _find(raw: bytes, sought: bytes, begin: int) -> int:
    """Return where `sought` is, from `begin` on; -1 if it is not there."""
    for at in range(begin, len(raw), PIECE_BYTES):
        found = raw.find(sought, at, at + PIECE_BYTES + len(sought) - 1)
        if found >= 0:
            return found
    return -1


def _copied(raw: bytes, begin: int, end: int) -> bytes:
    whole, copied = memoryview(raw), BytesIO()
    for at in range(begin, end, PIECE_BYTES):
        copied.write(whole[at : min(at + PIECE_BYTES, end)])
    return copied.getvalue()


def _malformed(why: str) -> CallerError:
    return CallerError(f"The multipart body is malformed: {why}.")
