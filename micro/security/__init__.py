"""Tokens, key sets and trusted peers."""
