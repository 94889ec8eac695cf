"""Delivering: what is due goes to each destination, and what each attempt came to goes back into the ledger."""
