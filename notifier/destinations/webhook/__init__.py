"""The destination type `http`: CloudEvents and Standard Webhooks, signed."""
