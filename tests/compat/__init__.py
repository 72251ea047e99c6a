"""haagent under programs that its authors did not write, each from an environment of its own."""
