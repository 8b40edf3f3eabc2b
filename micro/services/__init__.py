"""The built-in stack. Nothing else in micro knows these services; they use the public API only."""
