"""Authentication, policy, and evidence of synthetic speech."""
