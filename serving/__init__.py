"""Serve packed models: an engine over token ids, and the service around it (HTTP, gRPC, metrics)."""
