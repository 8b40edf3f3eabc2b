"""The version, read by the build and by `micro version`."""

__version__ = "0.1.0"
