"""The notifier's own conditions: the rules that raise them, the alerts about them, and their latest evaluation."""
