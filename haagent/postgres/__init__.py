"""The Postgres port on real PostgreSQL 14 and later: a data directory, its postmaster, and SQL over one connection."""
