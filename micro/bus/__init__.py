"""Events: the port, its backends, and the policies on top (outbox, relay, inbox, consumer, parking, replay)."""
