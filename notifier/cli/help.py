"""What stands below the options in a command's help."""


def examples(*commands: str) -> str:
    """Write examples, one a line; click leaves a paragraph alone that begins with a backspace."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])
