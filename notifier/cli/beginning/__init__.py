"""A first configuration: asked for, put together, written."""
