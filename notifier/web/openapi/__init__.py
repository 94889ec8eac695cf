"""The description of the local HTTP interface for programs: OpenAPI 3.1, one file for each subject."""
