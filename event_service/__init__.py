"""event-service: stores domain events exactly once and keeps notifications up to date."""
