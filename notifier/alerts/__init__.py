"""The notifier's own conditions: the rules that raise them, the notices about them, and their latest evaluation."""
