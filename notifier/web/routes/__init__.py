"""The routes of the HTTP interface, by resource."""
