"""The errors of the read API, each a response with problem details (RFC 9457)."""

from collections.abc import Mapping, Sequence
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError

from event_service.adapters.event_items import UnreadableItem
from event_service.adapters.paging import InvalidCursor
from event_service.codec.json_text import dumps
from event_service.errors import Unavailable, internal_error

_logger = Logger()


class NotFound(Exception):
    """The item has no event or state that the request asks for."""


class BadParameter(ValueError):
    """A parameter is wrong; the text is the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def register_error_handlers(app: APIGatewayRestResolver) -> None:
    """Make an application respond to every exception, and to paths that it does not have."""
    app.not_found(lambda _: _problem(404, "Not Found", "This path does not exist"))
    app.exception_handler(RequestValidationError)(_invalid_parameters)
    app.exception_handler(BadParameter)(lambda exc: _bad_request([{"field": exc.field, "reason": str(exc)}]))
    app.exception_handler(InvalidCursor)(lambda exc: _bad_request([{"field": "cursor", "reason": str(exc)}]))
    app.exception_handler(NotFound)(lambda exc: _problem(404, "Not Found", str(exc)))
    app.exception_handler(Unavailable)(_unavailable)
    app.exception_handler(UnreadableItem)(_unreadable)
    app.exception_handler(Exception)(_unexpected)


def _invalid_parameters(exc: RequestValidationError) -> Response[Any]:
    return _bad_request(
        [
            {"field": str(error["loc"][-1]), "reason": error["msg"].removeprefix("Value error, ")}
            for error in exc.errors()
        ]
    )


def _unavailable(exc: Unavailable) -> Response[Any]:
    _logger.warning("request failed", extra={"reason": exc.reason, "error": str(exc)})
    return _problem(503, "Service Unavailable", f"The event store is unavailable: {exc}")


def _unreadable(exc: UnreadableItem) -> Response[Any]:
    _logger.error("request failed", extra={"reason": "unreadable", "error": str(exc)})
    return _problem(500, "Internal Server Error", str(exc))


def _unexpected(exc: Exception) -> Response[Any]:
    _logger.error("request failed", extra={"reason": "internal", "error": str(internal_error(exc))})
    return _problem(500, "Internal Server Error", "The function's log has the reason")


def _bad_request(errors: Sequence[Mapping[str, str]]) -> Response[Any]:
    return _problem(400, "Bad Request", "; ".join(f"{each['field']}: {each['reason']}" for each in errors), errors)


def _problem(status: int, title: str, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> Response[Any]:
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Response(status, "application/problem+json", dumps(body | ({"errors": [*errors]} if errors else {})))
