"""Destinations of events: one module per type, and the code that they share."""
