"""HTTP requests and responses as messages, on the worker's side."""
