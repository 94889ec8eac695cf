"""Formats the examples at the end of a command's help."""


def examples(*commands: str) -> str:
    """Format example commands, one per line. The leading backspace character makes click keep the line breaks."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])
