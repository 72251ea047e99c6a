"""The imperative shell around the core: it observes, performs and waits, and chooses nothing."""
