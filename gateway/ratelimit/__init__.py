"""How much each tenant, key and model may use: sliding windows and leases, shared by all replicas.

`policy.py` says which limits apply and what a client is told, `store.py` is the port to what counts (`memory_store.py`
here, `redis_store.py` across replicas, `failover_store.py` when Redis is gone), `limiter.py` is what the pipeline uses.
"""
