"""Messages for people. Templates turn events into rows of text, and each destination type formats the rows."""
