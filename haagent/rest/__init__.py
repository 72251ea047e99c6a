"""The REST API of an agent: its routes, the server that answers, and the client that asks other agents."""
