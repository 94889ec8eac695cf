"""Detects changes: reads pages from the API, compares them with the known records, and writes changes to the store."""
