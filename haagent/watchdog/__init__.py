"""The watchdog device: what resets this machine when nobody proves its lease any more."""
