"""Joins service and unlearning: claims jobs, runs each in a child, hands results to the ledger.

Nobody imports this package, and it never imports the HTTP half of service.
"""
