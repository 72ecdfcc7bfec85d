"""OpenAI's API: language, speech, conversations, embeddings, files and batches; also at Azure's addresses."""
