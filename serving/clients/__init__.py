"""`dqbart translate`, `summarize` and `answer`, and the Python client of a server."""
