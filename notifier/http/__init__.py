"""The HTTP client: one exchange, its connections and name look-ups, and the parsing of headers."""
