"""OpenAI's audio API: transcriptions and the list of models."""
