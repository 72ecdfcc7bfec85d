"""The vendors' names that answer by default: of models, embeddings and voices."""

# The vendors' names of models that SDKs and their users know.
_CALLS = ("general", "meeting", "phonecall", "finance", "conversationalai", "voicemail", "video")
VENDOR_NAMES = (
    *("flux-general-en", "flux-general-multi"),
    *("nova-3", "nova-3-general", "nova-3-medical", "nova-3-multilingual", "nova-2", "nova", "enhanced", "base"),
    *(f"nova-2-{use}" for use in (*_CALLS, "medical", "drivethru", "automotive", "atc")),
    *(f"{tier}-{use}" for tier in ("nova", "enhanced", "base") for use in (*_CALLS, "medical")),
    *_CALLS,
    *("whisper", *(f"whisper-{size}" for size in ("tiny", "base", "small", "medium", "large"))),
    *("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"),
    *("gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper"),
    *("scribe_v1", "scribe_v2", "scribe_v2_realtime"),
    *("long", "short", "telephony", "telephony_short", "medical_conversation", "medical_dictation"),
    *("latest_long", "latest_short", "chirp", "chirp_2", "chirp_3", "chirp_telephony"),
    *("default", "command_and_search", "phone_call"),
    *("universal-streaming-english", "universal-streaming-multilingual", "whisper-rt"),
    *("best", "nano", "slam-1", "universal", "universal-2", "universal-3-pro"),
    *("u3-pro", "u3-rt-pro", "u3-rt-pro-beta-1", "universal-3-5-pro", "universal-3-6", "universal-3-6-pro"),
    "amazon-transcribe",  # its API names no models
)
VENDOR_LANGUAGE_NAMES = (
    *("gpt-4o-mini", "gpt-4o", "chatgpt-4o-latest", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"),
    *("gpt-4-turbo", "gpt-4", "gpt-3.5-turbo", "gpt-3.5-turbo-instruct", "o1", "o1-mini", "o3", "o3-mini", "o4-mini"),
    *(f"gpt-5{name}" for name in ("", "-mini", "-nano", "-chat-latest", ".1", ".1-mini", ".1-chat-latest", ".2")),
    *(f"gpt-5{name}" for name in (".2-chat-latest", ".3-chat-latest", ".4", ".4-mini", ".4-nano", ".5")),
    *(f"gpt-{name}" for name in ("5.6-sol", "5.6-terra", "5.6-luna", "6-sol", "6-luna", "6-astra")),
    *(f"gpt-{name}" for name in ("6.1-sol", "6.1-terra", "6.2-sol", "6.2-astra")),
    *("gpt-realtime", "gpt-realtime-mini", "gpt-realtime-1.5", "gpt-realtime-2", "gpt-realtime-2.1"),
)
VENDOR_EMBEDDING_NAMES = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")
VENDOR_SPEECH_NAMES = (
    *("tts-1", "tts-1-hd", "gpt-4o-mini-tts"),
    *(f"eleven_{name}" for name in ("monolingual_v1", "multilingual_v1", "multilingual_v2", "turbo_v2", "turbo_v2_5")),
    *(f"eleven_{name}" for name in ("flash_v2", "flash_v2_5", "v3", "v3_conversational", "v4", "v4_turbo")),
)
_AURA = "angus arcas asteria athena helios hera luna orion orpheus perseus stella zeus"
_AURA_2 = """
amalthea andromeda apollo arcas aries asteria athena atlas aurora callista cora cordelia delia draco electra harmonia
helena hera hermes hyperion iris janus juno jupiter luna mars minerva neptune odysseus ophelia orion orpheus pandora
phoebe pluto saturn selene thalia theia vesta zeus"""
# ElevenLabs' premade voices of all years, from Aria to Mimi: clients contain their ids.
_PREMADE = """
9BWtsMINqrJLrRacOk9x 21m00Tcm4TlvDq8ikWAM 29vD33N1CtxCmqQRPOHJ 2EiwWnXFnvU5JabPnv8n 5Q0t7uMcjvnagumLfvZi
AZnzlk1XvdvUeBnXmlld CYw3kZ02Hs0563khs1Fj CwhRBWXzGAHq8TQ4Fs17 D38z5RcWu1voky8WS1ja EXAVITQu4vr4xnSDxMaL
ErXwobaYiN019PkySvjV FGY2WhTYpPnrIDTdsKH5 GBv7mTt0atIp3Br8iCZE IKne3meq5aSn9XLyUdCD JBFqnCBsd6RMkjVDRZzb
LcfcDJNUP1GQjkzn1xUU MF3mGyEYCl7XYWbV9V6O N2lVS1w4EtoT3dr4eOWO ODq5zmih8GrVes37Dizd SAz9YHcvj6GT2YYXdXww
SOYHLrjzK2X1ezoPC6cr TX3LPaxmHKxFdv7VOQHJ ThT5KcBeYPX3keUQqHPh TxGEqnHWrfWFTfGW9XjX VR6AewLTigWG4xSOukaG
XB0fDUnXU5powFXDhCwa Xb7hH8MSUJpSbSDYk0k2 XrExE9yKIg1WjnnlVkGX Yko7PKHZNXotIFUBG7I9 ZQe5CZNOzWyzPSCn5a3c
Zlb1dXrM653N07WRdFW3 bIHbv24MWmeRgasZH58o bVMeCyTHy58xNoL34h3p cgSgspJ2msm6clMCkdW9 cjVigY5qzO86Huf0OWal
flq6f7yk4E4fJM5XTYuZ g5CIjZEefAph4nQFvHAz hpp4J3VqNfWAUOO0d1Us iP95p4xoKVk53GoZ742B jBpfuIE2acCO8z3wKNLl
jsCqWAovK2LkecY7zXl4 knrPHWnBmmDHMoiMeP3l nPczCjzI2devNBz1zQrb oWAxZDx7w5VEj9dCyTzz onwK4e9ZLuTAKqWW03F9
pFZP5JQG7iQjIQuC4Bku pMsXgVXv3BLzUgSXRplE pNInz6obpgDQGcFmaJgB piTKgcLEGmPE4e6mEKli pqHfZKP75CvOlQylNhV4
t0jbNlBVZ17f02VDIeMI wViXBPUzp2ZZixB1xQuM yoZ06aMxZJJ28mfd3POQ z9fAnlkpzviPz146aGWa zcAOhNBS3c14rBihAFp1
zrHiDhphv9ZnVXBqCLjz"""
VENDOR_VOICE_NAMES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse"),
    *(f"flux-{name}-en" for name in ("alexis", "haley", "heather")),
    *(f"aura-{name}-en" for name in _AURA.split()),
    *(f"aura-2-{name}-en" for name in _AURA_2.split()),
    *_PREMADE.split(),
)
