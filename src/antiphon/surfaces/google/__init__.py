"""Google Cloud Speech-to-Text, v2 and v1: over gRPC, and over REST for methods that are a single request."""
