"""The HTTP client: exchanges, connections, name lookups, proxies, and the parsing of headers."""
