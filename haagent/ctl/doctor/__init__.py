"""``haagent-ctl doctor``: gathers what agents and etcd tell of themselves, and shows what the core finds in it."""
