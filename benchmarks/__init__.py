"""Measurements, in ratios of one run on one machine. `python -m benchmarks` runs them all."""
