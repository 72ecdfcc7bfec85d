"""Google Cloud Speech-to-Text, v2 and v1: over gRPC, and what is one request over REST as well."""
