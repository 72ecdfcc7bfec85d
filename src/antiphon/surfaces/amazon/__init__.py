"""Amazon Transcribe's protocols."""
