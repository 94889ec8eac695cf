"""The dashboard: pages for the operator, rendered here; the browser loads nothing from any other host."""
