"""What `antiphon serve` becomes: the server, in an interpreter that loads nothing else.

Its arguments are the command line's, read already, as NAME=VALUE.
"""

import os
import shlex
import sys
from pathlib import Path

import uvloop

from antiphon import children, listener, logs
from antiphon.config import SPEECH_SAMPLES, Config, load
from antiphon.core.errors import AntiphonError
from antiphon.models import Store
from antiphon.storage import directory as storage
from antiphon.trust.authority import AUTHORITY_NAME


def main(arguments: list[str]) -> None:
    """Serves until a signal. Exits with 1 on an error of ours, said in one line."""
    children.without_core_dumps()
    overrides = dict(argument.split("=", 1) for argument in arguments)
    command, config = overrides.pop("command"), overrides.pop("config", None)
    accept_loss = bool(overrides.pop("accept_loss", ""))
    os.umask(storage.OTHERS)  # of what anything here makes, nothing is for others
    try:
        settings = load(Path(config) if config is not None else None, os.environ, overrides)
        logs.configure(settings.log_level)
        uvloop.run(
            listener.serve(
                settings,
                lambda ready, port, grpc_port: announce(settings, command, ready.first_key, port, grpc_port),
                accept_loss,
            )
        )
    except AntiphonError as error:
        sys.exit(f"antiphon: {' '.join(error.message.split())}")
    except OSError as error:
        if error.filename is None:  # a defect rather than a file that cannot be had
            raise
        sys.exit(f"antiphon: {error.filename}: {error.strerror}")
    except KeyboardInterrupt:  # there is nothing to drain yet
        sys.exit("Aborted!")


def announce(settings: Config, command: str, first_key: str | None, port: int, grpc_port: int | None = None) -> None:
    """Says where it is, the key if one was made, and how to call it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"{'https' if settings.tls else 'http'}://{host}:{port}"
    if grpc_port is not None:
        print(f"Antiphon serves gRPC on {host}:{grpc_port}{' with TLS' if settings.tls else ''}", flush=True)
    print(f"Antiphon serves on {url}", flush=True)
    authority = settings.directory / AUTHORITY_NAME if settings.tls_self_signed else None
    if authority:
        print(_trusting(authority), flush=True)
    if first_key:
        print(f"\nYour API key, shown this once:\n\n    {first_key}\n", flush=True)
    if settings.recognisers and (first_key or settings.api_key):
        speech = Store(settings.directory / "models", offline=True).path(SPEECH_SAMPLES) / "two_cities.wav"
        print(_examples(url, first_key or "$ANTIPHON_API_KEY", speech, command), flush=True)
        if settings.speaks:
            print(_spoken_example(url, command), flush=True)


def _trusting(authority: Path) -> str:
    path = shlex.quote(str(authority))
    return f"""
Clients must be told once to trust its authority, {authority}:

  Python     SSL_CERT_FILE={path}
  requests   REQUESTS_CA_BUNDLE={path}
  Node.js    NODE_EXTRA_CA_CERTS={path}
  curl       CURL_CA_BUNDLE={path}
  gRPC       GRPC_DEFAULT_SSL_ROOTS_FILE_PATH={path}
  browsers   import the file among the authorities in their settings, for websites
"""


def _examples(url: str, key: str, speech: Path, command: str) -> str:
    """Three calls that work as they are pasted into another terminal, in the same folder."""
    command, python = (os.path.relpath(path) for path in (command, sys.executable))
    return f"""Try it in another terminal:

  export ANTIPHON_API_KEY={key} SPEECH={shlex.quote(str(speech))}

  # a file
  curl -s -H "Authorization: Token $ANTIPHON_API_KEY" -H "Content-Type: audio/wav" --data-binary @"$SPEECH" \\
    '{url}/v1/listen?model=nova-3&smart_format=true'

  # a live stream, words as they are spoken
  {command} transcribe --live --url {url} "$SPEECH"

  # the OpenAI SDK
  {python} -m pip install -q openai
  OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=$ANTIPHON_API_KEY {python} -c "
import os, openai
speech = open(os.environ['SPEECH'], 'rb')
print(openai.OpenAI().audio.transcriptions.create(model='whisper-1', file=speech).text)"
"""


def _spoken_example(url: str, command: str) -> str:
    """One more."""
    command = os.path.relpath(command)
    return f"""  # speech, and a spoken conversation
  curl -s -H "Authorization: Bearer $ANTIPHON_API_KEY" -H "Content-Type: application/json" -o question.wav \\
    -d '{{"model": "tts-1", "voice": "alloy", "input": "What is the capital of France?", "response_format": "wav"}}' \\
    {url}/v1/audio/speech
  {command} converse --url {url} question.wav
"""


if __name__ == "__main__":
    main(sys.argv[1:])
