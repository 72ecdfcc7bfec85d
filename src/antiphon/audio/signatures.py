"""What the first bytes of audio tell of it: whether it is a file, which describes itself."""

from antiphon.audio.wav import begins_wav

_EBML = b"\x1aE\xdf\xa3"  # WebM and Matroska (RFC 8794, 11.2.1)
_ID3 = b"ID3"  # before MP3; its version is 2 to 4, and the highest bits of its size are 0 (ID3v2.4.0, 3.1)


def begins_container(data: bytes) -> bool:
    """Return whether audio begins like a file with a header: WAV, Ogg (RFC 3533, 6: the flag of a first page), FLAC,
    WebM, MP4.
    """
    first_page = data[:4] == b"OggS" and len(data) > 5 and bool(data[5] & 0x02)
    return first_page or begins_wav(data) or data[:4] in (b"fLaC", _EBML) or data[4:8] == b"ftyp"


def begins_packed(data: bytes) -> bool:
    """Return whether audio begins like a file of packets: as samples it would be noise. A WAV file holds samples."""
    tagged = data[:3] == _ID3 and len(data) >= 10 and data[3] in (2, 3, 4) and max(data[6:10]) < 0x80
    return tagged or (begins_container(data) and not begins_wav(data))
