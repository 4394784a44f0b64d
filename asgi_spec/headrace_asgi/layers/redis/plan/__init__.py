"""What to ask of Redis and how to read its answers. Pure: nothing here opens a connection."""
