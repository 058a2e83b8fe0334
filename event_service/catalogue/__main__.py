"""Prints the event types, their formats and the facts as an AsyncAPI 3 document: `python -m event_service.catalogue`.

docs/asyncapi.json is its output.
"""

import json
import sys
from collections.abc import Sequence

from event_service.catalogue.document import asyncapi
from event_service.console import make_parser, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the document; return the exit status."""
    make_parser("catalogue", __doc__).parse_args(arguments)
    return run("catalogue", _print_document)


def _print_document() -> int:
    print(json.dumps(asyncapi(), indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
