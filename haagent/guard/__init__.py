"""The fencing process: it knows a socket, a deadline, a term and how to end a process tree."""
