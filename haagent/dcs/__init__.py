"""The store of agreement: etcd v3, through its JSON gateway.

``keys`` says what stands in etcd, ``kv`` what is asked of it, ``gateway`` how it travels, ``etcd`` what it means.
"""
