"""Requests, written short."""

from __future__ import annotations

HOST = b"Host: localhost"


def get(target=b"/", *fields, method=b"GET", version=b"HTTP/1.1", host=HOST):
    """A request without a body; `fields` are lines without their ends."""
    lines = [b"%s %s %s" % (method, target, version), *([host] if host else []), *fields, b"", b""]
    return b"\r\n".join(lines)


def post(target, body, *fields, length=None, method=b"POST", version=b"HTTP/1.1"):
    """A request with a `Content-Length`, which says the truth unless told otherwise."""
    length = len(body) if length is None else length
    return get(target, *fields, b"Content-Length: %d" % length, method=method, version=version) + body


def chunked(target, *pieces, fields=(), end=b"0\r\n\r\n", method=b"POST"):
    """A request in chunks."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return get(target, *fields, b"Transfer-Encoding: chunked", method=method) + body + end


def answered(body=b"", *fields, status=b"200 OK"):
    """A whole answer with a `Content-Length`."""
    lines = [b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % len(body), b"", body]
    return b"\r\n".join(lines)


def in_chunks(*pieces, fields=(), end=b"0\r\n\r\n", status=b"200 OK"):
    """An answer in chunks."""
    head = b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"Transfer-Encoding: chunked", b"", b""])
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end
