"""The HTTP client: exchanges, connections, name look-ups, proxies, and the parsing of headers."""
