"""The commands, one file for each. A file is imported when its command is used; `notifier.cli.app` lists them."""
