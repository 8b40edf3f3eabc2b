"""The gateway: one `Exchange` through its route's compiled policies to an upstream."""
