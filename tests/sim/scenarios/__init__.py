"""Directed scenarios: one fault of the field each, in a small fixed vocabulary, over production agents."""
