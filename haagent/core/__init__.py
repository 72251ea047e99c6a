"""The functional core: what is known, what is decided, and by which row. It knows no clock, no I/O, no randomness."""
