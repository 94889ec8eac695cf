"""Makes a first configuration: the questions, the content and the files."""
