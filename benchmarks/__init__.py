"""What the README claims, measured on your machine: `python -m benchmarks [NAME …]`."""
