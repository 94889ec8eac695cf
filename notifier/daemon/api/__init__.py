"""The JSON objects and actions of the command line and the HTTP interface, one module for each resource."""
