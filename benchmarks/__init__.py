"""Benchmarks: the service beside the documented per-record way, in one run (`make bench`)."""
