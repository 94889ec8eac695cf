"""The sentences about the notifier itself, in each language."""
