"""Measurements of speed and cost: `python -m benchmarks`, or `make bench`.

Each benchmark compares, in the same run and on the same data, Lotus Lake with what it replaces and
with what a user would write; see RESULTS.md.
"""
