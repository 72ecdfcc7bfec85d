"""A spoken conversation: recognition, language and speech, overlapped."""
