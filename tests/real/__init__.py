"""Real machines in small: hosts, etcd, PostgreSQL, agents and HAProxy as processes, for tests, bench and demo alike."""
