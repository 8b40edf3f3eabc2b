"""What a configuration may say: the tables, the kinds of values in them, and how both are checked."""
