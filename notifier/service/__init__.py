"""The daemon as a systemd service: the text of the unit, and its installation."""
