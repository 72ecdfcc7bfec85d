"""Redaction of what callers receive: recognisers of personal data, and the filter that applies them."""
