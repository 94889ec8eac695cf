"""The client of the KPA Flex API: maps its two versions to one form, names its failures, keeps to its rate limit."""
