"""The operator's command line: reads the cluster in etcd, talks to agents over REST, and knows nothing of HA itself."""
