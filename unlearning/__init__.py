"""Machine unlearning for image classifiers: methods, metrics and the audit, in pure torch.

This package imports no web framework, queue, database or settings library.
"""
