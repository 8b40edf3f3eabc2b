"""What the gateway does to a request before its upstream, one policy a module."""
