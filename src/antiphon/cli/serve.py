"""`antiphon serve`: pull what is missing, start, say how to call it, drain on Ctrl-C."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

SAMPLES = "speech-samples"  # in the same wheel as the model, so they cost no download


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings; see docs/configuration.md.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [ANTIPHON_HOST, 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for any. [ANTIPHON_PORT, 8080]")] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Models, keys and usage. [ANTIPHON_DATA_DIR, ~/.local/share/antiphon]")
    ] = None,
    offline: Annotated[bool | None, typer.Option("--offline", help="Never fetch a model.")] = None,
) -> None:
    """Serve the API. The first start prints an API key, once; ANTIPHON_API_KEY sets it instead."""
    import uvloop

    from antiphon import app as house
    from antiphon import logs
    from antiphon.config import Invalid, load
    from antiphon.models import Store

    overrides = {"host": host, "port": port, "data_dir": data_dir, "offline": offline}
    settings = load(config, os.environ, overrides)
    logs.configure(settings.log_level)
    try:
        settings.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Invalid(f"setting data_dir: {settings.data_dir}: {error.strerror}") from None
    store = Store(settings.directory / "models", settings.offline)
    if wanted := (*house.needed(settings), *([SAMPLES] if settings.speech else [])):
        from antiphon.cli.models import progress_bars

        with progress_bars() as report:
            store.pull(wanted, report)

    def announce(ready: house.House, bound: int) -> None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{host}:{bound}"
        print(f"Antiphon serves on {url}", flush=True)
        key = ready.first_key
        if key:
            print(f"\nYour API key, shown this once:\n\n    {key}\n", flush=True)
        if settings.speech and (key or settings.api_key):
            speech = store.path(SAMPLES) / "two_cities.wav"
            print(_examples(url, key or "$ANTIPHON_API_KEY", speech), flush=True)
            if settings.speaks:
                print(_spoken_example(url), flush=True)

    uvloop.run(house.serve(settings, announce))


def _examples(url: str, key: str, speech: Path) -> str:
    """Three calls that work as they are pasted into another terminal, in the same folder."""
    command, python = (os.path.relpath(path) for path in (sys.argv[0], sys.executable))
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


def _spoken_example(url: str) -> str:
    """One more."""
    command = os.path.relpath(sys.argv[0])
    return f"""  # speech, and a spoken conversation
  curl -s -H "Authorization: Bearer $ANTIPHON_API_KEY" -H "Content-Type: application/json" -o question.wav \\
    -d '{{"model": "tts-1", "voice": "alloy", "input": "What is the capital of France?", "response_format": "wav"}}' \\
    {url}/v1/audio/speech
  {command} converse --url {url} question.wav
"""
