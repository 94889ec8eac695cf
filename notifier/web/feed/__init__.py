"""The feed of events: read page by page, or followed as a stream of server-sent events."""
