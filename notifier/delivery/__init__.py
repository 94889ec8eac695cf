"""Sends due events to each destination, and records the outcome of each attempt in the store."""
