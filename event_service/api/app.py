"""The application that the routes are registered with, and the parts of its OpenAPI document that all routes share."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import quote, unquote

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.models import OpenAPI, Parameter, Schema

from event_service.api.errors import BadParameter, register_error_handlers
from event_service.api.models import ApiModel, Problem

ApiResponse = Response[Any]


class _Resolver(APIGatewayRestResolver):
    def get_openapi_schema(self, **options: Any) -> OpenAPI:
        """Remove what Powertools adds to every route: status 422, which is 400 here, and null as a parameter's type."""
        schema = super().get_openapi_schema(**options)
        for path in (schema.paths or {}).values():
            if path.get and path.get.responses:
                path.get.responses.pop(422)
            for parameter in (path.get and path.get.parameters) or []:
                if isinstance(parameter, Parameter) and isinstance(parameter.schema_, Schema):
                    present = (parameter.schema_.anyOf or [parameter.schema_])[0]
                    parameter.schema_ = present if isinstance(present, Schema) else parameter.schema_
        if schema.components and schema.components.schemas:
            for name in ("HTTPValidationError", "ResponseValidationError", "ValidationError"):
                schema.components.schemas.pop(name)
        return schema


def make_app(parameters: Mapping[str, AbstractSet[str]]) -> APIGatewayRestResolver:
    """Return an application that validates requests and turns every error into a response.

    `parameters` are the query parameters of each path; a request with another one is refused.
    """

    def check_parameters(app: APIGatewayRestResolver, next_middleware: Callable[..., ApiResponse]) -> ApiResponse:
        known = parameters.get(app.current_event.resource)
        for name in app.current_event.query_string_parameters:
            if known is not None and name not in known:
                raise BadParameter(name, "is not a parameter of this path")
        return next_middleware(app)

    app = _Resolver(enable_validation=True)
    register_error_handlers(app)
    app.use(middlewares=[check_parameters])
    return app


def responses(model: type[ApiModel] | None, *, may_be_missing: bool = False) -> dict[int, Any]:
    """Return the documented responses of a route, whose success is JSON of this model, or text."""
    success: dict[str, Any] = (
        {"application/json": {"model": model}} if model else {"text/plain": {"schema": {"type": "string"}}}
    )
    problems = {
        400: "A parameter is wrong",
        500: "Internal error; the function's log has the reason",
        503: "The event store is unavailable",
    }
    if may_be_missing:
        problems[404] = "Not found"
    return {200: {"description": "Success", "content": success}} | {
        status: {"description": text, "content": {"application/problem+json": {"model": Problem}}}
        for status, text in problems.items()
    }


def with_encoded_path(event: dict[str, Any]) -> dict[str, Any]:
    """Return a request whose path parameters are uniformly percent-encoded: each is one segment when routing.

    In published examples, a REST API passes them percent-encoded, as the client sent them; AWS does not document it.
    """
    path = event["resource"] if event.get("pathParameters") else event["path"]
    if "{proxy+}" in path:
        return event
    for name, value in (event.get("pathParameters") or {}).items():
        path = path.replace(f"{{{name}}}", quote(unquote(value), safe=""))
    return event | {"path": path}
