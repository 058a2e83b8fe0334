"""Benchmarks: the service compared with the documented way, record by record, in one run (`make bench`)."""
