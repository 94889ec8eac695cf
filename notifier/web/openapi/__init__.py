"""The OpenAPI 3.1 document that describes the local HTTP interface."""
