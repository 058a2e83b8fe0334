"""event-service: stores domain events exactly once and keeps notifications up to date.

Where to find what:

The function
    handler: the entry point, where everything is wired together; pipeline: the way of a batch, top to bottom

Its stages
    envelope, formats, projection: parse and validate; event_store: append; notifications: apply; publisher: publish

What they speak of (pure)
    events: the event, and the known types; items: an event as DynamoDB's item; facts: what the service publishes;
    instants, strict_json, jsonb: times, JSON and numbers that lose nothing; errors: why a record failed

How they reach the backends
    database: PostgreSQL; aws, data_plane, batches: AWS; config: the environment; deadline: the time there is

The read API
    api: the routes; api_app, api_errors, api_models: what they have in common; event_history: reading the event store;
    timeline, timeline_text: what an item's events tell

Commands, `python -m event_service.<name>`
    history; check; migrate (deployment: the same during a deployment); commands: what they have in common;
    catalogue (catalogue_schemas, catalogue_examples): the types, as AsyncAPI;
    rebuild (rebuild_workers, rebuild_segment, replay): notifications from the event store;
    forget (erasure, personal_data): a person's data
"""
