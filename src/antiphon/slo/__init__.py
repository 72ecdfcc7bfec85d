"""Service-level objectives: what is promised, what is measured, who is let in. Pure."""
