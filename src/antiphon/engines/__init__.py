"""What computes: speech recognition, voice activity. Heavy imports happen here, one file each, and lazily."""
