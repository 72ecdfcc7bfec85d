"""Service-level objectives: what is promised, what is measured, who is admitted. Pure."""
