"""The local HTTP interface of a running daemon: status, metrics, event feed, dashboard, and actions for operators."""
