"""The examples at the end of a command's help."""


def examples(*commands: str) -> str:
    """Return examples, one per line, after a backspace character, which keeps click from rewrapping them."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])
