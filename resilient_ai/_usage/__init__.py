"""What an answer tells besides its text: tokens, why it ended, tool calls. Below the policies, above classification."""
