"""Requests to a read API on AWS, signed (SigV4) with a person's own credentials."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, NoCredentialsError
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import get_environ_proxies

from event_service.api.serving import Reply

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 30  # API Gateway waits for 29


def signed_requests(session: Session, url: str) -> Callable[[str], Reply]:
    """Return a function that gets a path and a query from the API at a URL, with the session's credentials and region.

    If AWS does not respond, or refuses, the reply has problem details (RFC 9457), as the API's own errors have.
    """
    options: dict[str, Any] = {
        "verify": session.get_config_variable("ca_bundle") or True,
        "proxies": get_environ_proxies(url),
        "timeout": (_CONNECT_SECONDS, _READ_SECONDS),
    }
    http = URLLib3Session(**options)

    def answer(target: str) -> Reply:
        try:
            credentials = session.get_credentials()
            if credentials is None:
                raise NoCredentialsError
            frozen: Any = credentials.get_frozen_credentials()
            request = AWSRequest("GET", url + _encoded(target))
            SigV4Auth(frozen, "execute-api", session.get_config_variable("region")).add_auth(request)
            response = http.send(request.prepare())
        except BotoCoreError as exc:
            return _problem(HTTPStatus.BAD_GATEWAY, str(exc))
        if response.status_code == HTTPStatus.FORBIDDEN:
            return _problem(HTTPStatus.FORBIDDEN, _refusal(response.content))
        content_type = response.headers.get("Content-Type", "application/octet-stream")
        return Reply(response.status_code, [("Content-Type", content_type)], response.content)

    return answer


def _encoded(target: str) -> str:
    """Return a path and a query in which every reserved character is encoded, as a signature requires.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    parts = urlsplit(target)
    path = "/".join(quote(unquote(segment), safe="") for segment in parts.path.split("/"))
    query = urlencode(parse_qsl(parts.query, keep_blank_values=True), quote_via=quote)
    return f"{path}?{query}" if query else path


def _refusal(body: bytes) -> str:
    """Return why AWS refused: API Gateway says `message`, its policies say `Message`."""
    try:
        said = {name.lower(): value for name, value in json.loads(body).items()}
    except (ValueError, AttributeError):
        said = {}
    return (
        f"AWS says: {said.get('message', 'nothing')}. If your credentials have expired, renew them and start this"
        " again. They must be of the stack's account, and allow execute-api:Invoke on the read API"
    )


def _problem(status: HTTPStatus, detail: str) -> Reply:
    body = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    return Reply(status, [("Content-Type", "application/problem+json")], json.dumps(body).encode())
