"""API Gateway before the read API, as its callers see it: the stage, and authorisation by signatures (SigV4)."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.api import proxy_event, resources

STAGE = "/v1"


@dataclass
class Gateway:
    """A running one. Requests signed with these credentials are passed on, unless `refusal` is set."""

    url: str
    credentials: Credentials
    region: str
    refusal: str | None = None
    targets: list[str] = field(default_factory=list)

    def verdict(self, target: str, headers: Any) -> str | None:
        """Why a request is refused, in the words of AWS; None if it is not."""
        self.targets.append(target)
        if self.refusal:
            return self.refusal
        signed = re.search(r"SignedHeaders=([\w;-]+), ?Signature=(\w+)", headers.get("Authorization", ""))
        if not signed or "X-Amz-Date" not in headers:
            return "Missing Authentication Token"
        if headers.get("X-Amz-Security-Token") != self.credentials.token:
            return "The security token included in the request is invalid."
        own = {name: headers[name] for name in signed[1].split(";")}
        parts = urlsplit(target)
        # AWS decodes and encodes the parameters before it computes the signature.
        query = urlencode(parse_qsl(parts.query, keep_blank_values=True), quote_via=quote)
        request = AWSRequest("GET", f"http://{headers['Host']}{parts.path}?{query}", headers=own)
        request.context["timestamp"] = headers["X-Amz-Date"]
        signer = SigV4Auth(self.credentials, "execute-api", self.region)
        expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        if signed[2] != expected or "host" not in signed[1].split(";"):
            return "The request signature we calculated does not match the signature you provided."
        return None


@contextmanager
def running_gateway(answer: Callable[[Any, None], Any], credentials: Credentials, region: str) -> Iterator[Gateway]:
    """Run one before a Lambda function."""
    paths = resources()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if reason := gateway.verdict(self.path, self.headers):
                status, kind, body = 403, "application/json", json.dumps({"message": reason})
            else:
                reply = answer(proxy_event(self.path.removeprefix(STAGE), paths), None)
                status, kind, body = reply["statusCode"], reply["multiValueHeaders"]["Content-Type"][0], reply["body"]
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        gateway = Gateway(f"http://127.0.0.1:{server.server_port}{STAGE}", credentials, region)
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield gateway
        finally:
            server.shutdown()
