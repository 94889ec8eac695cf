"""Finds what is new: reads pages of the API, compares them with what is known, writes what changed to the ledger."""
