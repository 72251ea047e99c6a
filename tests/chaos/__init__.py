"""A real cluster under drawn faults while clients write to it by every way; what they saw is then judged."""
