"""The runner `multi`: the supervisor, its children, and what lies between them."""
