"""What the notifier says of itself, in each language."""
