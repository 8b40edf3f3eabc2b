"""Real servers for a laptop: PostgreSQL, Valkey (the Redis protocol) and Kafka, from Python packages alone.

Each has its own folder under `.micro/infra`, a generated password, a port of its own on loopback, and a process that
outlives the command that started it, until `micro infra down`.
"""
