"""One module per kind of resource: parse, call the ledger once, answer."""
