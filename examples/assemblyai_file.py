"""Transcribe a recording with AssemblyAI's own SDK, and print its subtitles.

ANTIPHON_API_KEY=... python examples/assemblyai_file.py speech.mp3
"""

import os
import sys

import assemblyai as aai

aai.settings.base_url = os.environ.get("ANTIPHON_URL", "http://127.0.0.1:8080")
aai.settings.api_key = os.environ["ANTIPHON_API_KEY"]
aai.settings.polling_interval = 0.5

transcript = aai.Transcriber().transcribe(sys.argv[1])
if transcript.error:
    sys.exit(transcript.error)
print(transcript.text)
print(transcript.export_subtitles_srt())
