"""ElevenLabs: text to speech and speech to text, tokens, voices, models, and what an account has used."""
