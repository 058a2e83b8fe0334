"""event-service: stores domain events exactly once and keeps notifications up to date.

CONTRIBUTING.md has a map of the packages, pyproject.toml the rules about which of them may import which.
"""
