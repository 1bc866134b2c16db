"""The command-line clients of a running server."""
