"""Opens the read API of a stack on this machine: `python -m event_service.api --stack NAME`.

Its page is then at http://localhost:3000/docs, or at the port that the command prints. Each request is signed with your
own AWS credentials and sent to the stack. They must allow cloudformation:DescribeStacks, and execute-api:Invoke on the
API.

Only this machine can connect, and no other page in your browser. Ctrl-C stops it.

Exit status: 0 stopped, 2 it could not start.
"""

import argparse
import sys
import threading
from collections.abc import Sequence

import botocore.session

from event_service.api.serving import PORT, served
from event_service.api.signing import signed_requests
from event_service.cli import run, stack_output
from event_service.console import make_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; return the exit status."""
    parser = make_parser("api", __doc__, "AWS_REGION, AWS_PROFILE and the like, as for the AWS CLI")
    parser.add_argument("--stack", metavar="NAME", required=True, help="the stack whose output ReadApiUrl is used")
    parser.add_argument("--port", type=int, default=PORT, help=f"the port on this machine, by default {PORT}")
    options = parser.parse_args(arguments)
    return run("api", lambda: _serve(options))


def _serve(options: argparse.Namespace) -> int:
    url = stack_output(options.stack, "ReadApiUrl")
    with served(signed_requests(botocore.session.get_session(), url), options.port) as address:
        print(f"the read API of {options.stack}: {address}/docs\nCtrl-C stops this", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
