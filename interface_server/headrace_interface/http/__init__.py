"""One HTTP connection and its requests."""
