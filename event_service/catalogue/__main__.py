"""Prints the event types as an AsyncAPI 3 document: `python -m event_service.catalogue`."""

import json

from event_service.catalogue.document import asyncapi

if __name__ == "__main__":
    print(json.dumps(asyncapi(), indent=2, ensure_ascii=False))
