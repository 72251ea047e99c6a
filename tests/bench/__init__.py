"""What haagent costs and how fast it is, measured beside Patroni in the same run."""
