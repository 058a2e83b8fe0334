"""event-service: stores domain events exactly once and keeps notifications up to date.

The Lambda function: handler (the entry point and the wiring), pipeline (how a batch is processed), steps and telemetry.
sweeper publishes orphaned facts on a schedule. The read API is in api.

The commands, `python -m event_service.<name>`: catalogue, check, dead_letters, forget, history, migrate, rebuild; cli,
console and merging are what they share.

Below them: adapters (one backend each), domain (events, facts and notifications, pure), codec (lossless JSON, numbers
and instants), config, deadline and errors. pyproject.toml has the rules about which module may import which.
"""
