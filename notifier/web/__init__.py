"""The local HTTP interface: health, status, and the few things one may ask a running daemon to do."""
