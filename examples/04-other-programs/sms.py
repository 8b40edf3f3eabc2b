"""A program that knows nothing of micro: it listens where its environment says. It might be written in any language."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

NUMBERS = count(1)
DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "sms", "version": "1"},
    "paths": {
        "/sms": {"post": {"summary": "Send a text message", "responses": {"201": {"description": "Sent"}}}}
    },
}


class Handler(BaseHTTPRequestHandler):
    """Sends text messages, as far as one can see."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Health and documentation."""
        if self.path == "/health":
            self.answer(200, {"status": "healthy"})
        elif self.path == "/openapi.json":
            self.answer(200, DOCUMENT)
        else:
            self.answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        """Send one."""
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(f"to {message['to']}, from {os.environ['SMS_SENDER']}: {message['text']}")
        self.answer(201, {"number": next(NUMBERS)})

    def answer(self, status: int, content: object) -> None:
        """Answer in JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The gateway has an access log already."""


ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
