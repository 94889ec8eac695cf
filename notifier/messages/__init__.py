"""Messages for people. Templates turn events into rows of text; each destination type formats the rows."""
