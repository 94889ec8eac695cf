"""A damaged or lost state file: found, set aside, and made anew of what can be read of it and what lies beside it."""
