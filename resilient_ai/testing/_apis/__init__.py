"""What a healthy provider says, in the wire formats of OpenAI, Anthropic, Google and a plain API of one's own."""
