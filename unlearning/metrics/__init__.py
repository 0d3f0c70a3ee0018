"""Measure one model at a time: pure functions on features, logits and labels.

One metric per file; the first line of each says in which direction it points. Feature metrics
take *standardised* features (`standardise.py`). Nothing here compares with a threshold: that is
the audit's work. A metric raises `NotComputable` where it has no defined value (empty sets, a
single retained class, constant features) and `ValueError` for malformed input (NaN, shapes).
Each module defines its metric, its direction and its source in its docstring.
"""
