"""The dashboard: pages for the person who runs the notifier, made on this machine and by no other."""
