"""Access control of the HTTP interface: hosts, origins, tokens, sessions and headers."""
