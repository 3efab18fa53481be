"""Benchmarks: each script prints measured figures beside their targets."""
