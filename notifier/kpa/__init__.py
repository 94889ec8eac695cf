"""The client of the KPA Flex API: maps the API's versions to one form, names failures, and keeps to the rate limit."""
