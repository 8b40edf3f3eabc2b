"""An HTTP/1.1 server on one connection after the other: strict by RFC 9112, for the gateway's port and the services'.

Port ──makes──▶ HttpProtocol ──reads──▶ HeadReader, Chunks
│ one at a time
▼
Turn: Cycle (an ASGI app), or what a subclass puts in its place
"""
