"""Files of a data directory: who owns them, who may read them, and whether they are still there."""
