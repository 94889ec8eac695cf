"""The feed of events, which can be read page by page or followed as a stream of server-sent events."""
