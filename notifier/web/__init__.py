"""The local HTTP interface of a running daemon: health, status, metrics, the event feed, and actions."""
