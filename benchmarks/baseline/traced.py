"""The baseline with tracing, as Powertools' examples have it; it needs the X-Ray SDK, which is in its package only."""

from aws_lambda_powertools import Tracer

from benchmarks.baseline import handler

tracer = Tracer(service="baseline")
lambda_handler = tracer.capture_lambda_handler(handler.lambda_handler)
