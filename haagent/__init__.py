"""haagent: one agent beside each PostgreSQL node, which leads only while its lease in etcd is proven."""

__version__ = "0.1.0"
