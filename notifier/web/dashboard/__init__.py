"""The dashboard: HTML pages for the operator, which load nothing from other hosts."""
