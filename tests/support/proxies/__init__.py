"""Proxies between the function and its backends, which inject faults and note what passes."""
