"""Puts a stack together and runs it."""
