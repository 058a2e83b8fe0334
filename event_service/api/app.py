"""The application that the read API's routes are registered with, and what its document says of every route."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import quote, unquote

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.models import OpenAPI, Parameter, Schema

from event_service.api.errors import Invalid, answer_errors
from event_service.api.models import ApiModel, Problem

Answer = Response[Any]


class _Resolver(APIGatewayRestResolver):
    def get_openapi_schema(self, **options: Any) -> OpenAPI:
        """Leave out what Powertools has everywhere: the 422, which is a 400 here, and parameters that are null."""
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
    """Return an application that validates requests, answers every error, and knows each path's query parameters."""

    def check_parameters(app: APIGatewayRestResolver, next_middleware: Callable[..., Answer]) -> Answer:
        known = parameters.get(app.current_event.resource)
        for name in app.current_event.query_string_parameters:
            if known is not None and name not in known:
                raise Invalid(name, "is no parameter here")
        return next_middleware(app)

    app = _Resolver(enable_validation=True)
    answer_errors(app)
    app.use(middlewares=[check_parameters])
    return app


def answers(model: type[ApiModel] | None, *, found: bool = False) -> dict[int, Any]:
    """Return the answers of a route: JSON of this form, or text."""
    success: dict[str, Any] = (
        {"application/json": {"model": model}} if model else {"text/plain": {"schema": {"type": "string"}}}
    )
    problems = {400: "A parameter is wrong", 500: "The log says what went wrong", 503: "The event store did not answer"}
    if found:
        problems[404] = "Nothing is known of it"
    return {200: {"description": "Success", "content": success}} | {
        status: {"description": text, "content": {"application/problem+json": {"model": Problem}}}
        for status, text in problems.items()
    }


def with_encoded_path(event: dict[str, Any]) -> dict[str, Any]:
    """Return a request whose path's parameters are percent-encoded in one way: each is one segment for the routing.

    A REST API gives them as they were sent, percent-encoded, by all that was published about it; AWS documents neither.
    """
    path = event["resource"] if event.get("pathParameters") else event["path"]
    if "{proxy+}" in path:
        return event
    for name, value in (event.get("pathParameters") or {}).items():
        path = path.replace(f"{{{name}}}", quote(unquote(value), safe=""))
    return event | {"path": path}
