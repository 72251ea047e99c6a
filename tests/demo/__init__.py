"""The demonstration: a cluster on loopback that fails over while a client writes."""
