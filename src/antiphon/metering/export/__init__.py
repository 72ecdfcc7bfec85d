"""Exports of usage to external billing systems: entries become events, and the outbox sends events to receivers."""
