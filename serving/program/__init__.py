"""Models in a program, without a server: the service's second door."""
