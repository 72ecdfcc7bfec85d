"""Who may do what, and what is kept: keys, policy, evidence."""
