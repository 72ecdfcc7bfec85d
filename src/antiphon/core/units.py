"""Units of time, and how much data is worth a thread."""

NS_PER_MS = 1_000_000
NS_PER_S = 1_000 * NS_PER_MS
BESIDE_BYTES = 128 * 1024  # more than that is hashed, parsed or converted in a thread, beside the event loop
