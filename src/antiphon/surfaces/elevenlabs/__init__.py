"""ElevenLabs' APIs: text to speech and speech to text, tokens, voices, models, and the usage of an account."""
