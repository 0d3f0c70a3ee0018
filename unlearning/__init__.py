"""Machine unlearning for image classifiers: methods, metrics and the audit, in pure torch.

Start with `problem.Problem` and `methods.get_method`; `controls` holds what must fail an audit and
`testing.check_method` the contract of a method. This package imports no web framework, queue,
database, settings or logging library. It imports nothing here, so that its errors are cheap to
import.
"""
