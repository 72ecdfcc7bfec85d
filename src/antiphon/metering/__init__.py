"""What was used, by whom, durably: the ledger, and the totals that are read from it."""
