"""What Headrace costs on the machine at hand: `python -m benchmarks`. README.md explains the figures."""
