"""Databases: the port, its backends, and migrations."""
