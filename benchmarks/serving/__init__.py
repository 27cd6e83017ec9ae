"""Latency and throughput of serving: the model in process, the model server, the ranker, and a plain servicer."""
