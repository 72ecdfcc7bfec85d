"""How many of the clock's nanoseconds a longer unit of time has."""

NS_PER_MS = 1_000_000
NS_PER_S = 1_000 * NS_PER_MS
