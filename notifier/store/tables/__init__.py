"""Functions that read and write one table each; they run in the store's transactions."""
