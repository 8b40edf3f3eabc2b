"""What the configuration says: files, environment and flags, merged and checked, and the services that they name."""
