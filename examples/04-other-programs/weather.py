"""Somebody else's server, on a machine somewhere: python3 weather.py PORT."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Knows the weather of every city."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer in JSON."""
        status, content = 200, {"city": self.path.rpartition("/")[2], "sky": "blue"}
        if not self.path.startswith("/weather/"):
            status, content = (200, {}) if self.path == "/up" else (404, {})
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal of the example."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
