"""Where instances are, told across machines: the port and its backends."""
