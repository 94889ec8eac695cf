"""The upstream API: its two versions as one mapping, its failures by name, its shared request limit kept."""
