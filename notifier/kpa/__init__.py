"""The client of the KPA Flex API: its two versions mapped to one form, its named failures, its request limit."""
