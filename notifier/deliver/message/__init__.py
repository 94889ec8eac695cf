"""Messages for people: from events to words, by templates, to rows that each destination type writes its own way."""
