"""Shared by the tests: one world, one set of message builders, one kind of proxy, the oracle, and database access."""
