"""Audio in: samples as callers send them, turned into 16 kHz mono int16. Imports core only."""
