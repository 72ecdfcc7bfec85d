"""Files of a data directory: whose they are, who may read them, and whether they are still there."""
