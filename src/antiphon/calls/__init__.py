"""One caller's call of each kind, from open to close. Read `recognition.py` first."""
