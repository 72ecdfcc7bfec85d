"""ElevenLabs: text to speech, its voices and models, and what an account has used."""
