"""Queries across tables, for displays and exports; none of them writes."""
