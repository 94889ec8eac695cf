"""The local HTTP interface: health, status, metrics, the feed, and what one may ask a running daemon to do."""
