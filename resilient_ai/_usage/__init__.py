"""Facts in an answer besides its text: tokens, finish reason, tool calls. Below the policies, above classification."""
