"""The sockets on which the HTTP interface listens, and the limits on their connections."""
