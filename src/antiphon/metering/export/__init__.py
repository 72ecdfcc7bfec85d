"""Usage for billing systems outside: entries become events, events go through the outbox, receivers get them."""
