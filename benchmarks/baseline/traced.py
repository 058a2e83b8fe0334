"""The baseline with tracing, as in Powertools' examples; only its own package contains the X-Ray SDK."""

from aws_lambda_powertools import Tracer

from benchmarks.baseline import handler

tracer = Tracer(service="baseline")
lambda_handler = tracer.capture_lambda_handler(handler.lambda_handler)
