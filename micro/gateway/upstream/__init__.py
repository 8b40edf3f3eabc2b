"""Where the gateway sends a request."""
