"""What is hidden of what callers hear: recognisers of personal data, and the filter that applies them."""
