"""The examples at the end of a command's help."""


def examples(*commands: str) -> str:
    """Return examples, one per line. The backspace at the beginning keeps click from rewrapping them."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])
