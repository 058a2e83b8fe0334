"""Checks messages as the function would, without AWS or a database: `python -m event_service.check FILE...`.

Producers can run it in their CI. A file contains one of:

- a message body, in any of the event formats. The type of a legacy event is a message attribute: use --event-type;
- an SNS notification ("Type": "Notification");
- an SQS record, or a Lambda event with a list of SQS or SNS records ("Records");
- the output of `aws sqs receive-message` ("Messages"), or one of its messages;
- a JSON array of any of these, or of recorded messages ({"case", "message"});
- NDJSON: any of these on each line (always assumed for .ndjson and .jsonl).

Exit status: 0 if the function would accept every record, 1 if it would reject one (with --strict, also if a type is
unknown), 2 if a file cannot be read or contains no records, or the command line is wrong.
"""

import sys
from collections.abc import Sequence

from event_service.check.files import check_files
from event_service.console import make_parser, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the files that the command line names; return the exit status."""
    parser = make_parser("check", __doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, or - for standard input")
    parser.add_argument("--event-type", help="message attribute eventType of bare messages, such as reminder:created")
    parser.add_argument("--item-type", help="message attribute eventItemType of bare messages, such as reminder")
    parser.add_argument("--strict", action="store_true", help="fail on event types that the service does not know")
    options = parser.parse_args(arguments)
    given = {"eventType": options.event_type, "eventItemType": options.item_type}
    attributes = {name: value for name, value in given.items() if value is not None}
    return run("check", lambda: check_files(options.files, attributes, strict=options.strict))


if __name__ == "__main__":
    sys.exit(main())
