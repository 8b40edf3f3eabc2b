"""One module per group of verbs: parse, call the runtime, print. No decisions."""
