"""The torch-free half: HTTP, ledger, reports, signing, storage, command line.

Never imports torch, numpy, worker or unlearning, so that the API image stays small and starts fast.
"""
