"""Answers of a healthy provider in the wire formats of OpenAI, Anthropic, Google and a simple custom API."""
