"""What is told of the running service."""
