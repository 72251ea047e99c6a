"""This machine, from the agent's side: its clock, its disk for a few small facts, its service manager."""
