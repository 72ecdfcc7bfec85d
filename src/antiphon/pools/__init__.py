"""Engines that serve one model: who waits, who is next, which engine answers, which are well."""
