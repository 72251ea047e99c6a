"""The store of agreement: etcd v3, through its JSON gateway or by gRPC.

``keys`` says what stands in etcd, ``kv`` what is asked of it, ``client`` and ``ring`` which endpoint is asked,
``gateway`` and ``rpc`` how it travels, ``etcd`` what it means.
"""
