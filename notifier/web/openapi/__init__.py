"""The OpenAPI 3.1 description of the local HTTP interface, one file for each subject."""
