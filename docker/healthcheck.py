"""Exits with 0 when the server in this container answers. Standard library only: it runs every few seconds."""

import http.client
import os
import sys

connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("DQBART_HTTP_PORT", "8000")), timeout=4)
try:
    connection.request("GET", "/healthz")
    sys.exit(connection.getresponse().status != http.client.OK)
except OSError as error:
    sys.exit(f"the server does not answer: {error}")
