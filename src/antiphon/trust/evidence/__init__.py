"""Evidence for auditors: what the audit log and the configuration show of a period, and what they cannot show."""
