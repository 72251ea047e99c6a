"""Known-bad edits of the production code: each must be caught by a checker, or there is a gap in the faults."""
