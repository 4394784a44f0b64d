"""The channel layers: one module each, and the plan and executors that the Redis ones share."""
