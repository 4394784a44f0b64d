"""The plan carried out by blocking connections: for workers, views and commands."""
