"""Measurements behind every figure in README and docs: one script, one table, one JSON."""
