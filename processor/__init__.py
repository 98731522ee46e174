"""Kafka to Postgres: validate, match, merge, and write a batch in one transaction, exactly once.

Start reading at `batch.py`, which is the description of the whole.
"""
