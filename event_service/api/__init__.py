"""The read API: the second Lambda function, behind API Gateway's REST API."""

from event_service.api.routes import lambda_handler

__all__ = ["lambda_handler"]
