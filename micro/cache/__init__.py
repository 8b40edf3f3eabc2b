"""Caches and rate-limit windows: the ports and their backends."""
