"""The running service measured from outside: latency and throughput beside the bare engine's, and a soak."""
