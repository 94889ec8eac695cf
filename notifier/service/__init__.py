"""The daemon as a systemd service: the unit's text, and how it comes onto a machine."""
