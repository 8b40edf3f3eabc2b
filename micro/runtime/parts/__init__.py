"""What runs in a child of the supervisor: a service instance, a gateway worker, a program, or the helper for verbs."""
