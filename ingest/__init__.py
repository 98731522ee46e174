"""The front door: checks writes, puts them into Kafka, answers.

The path of one event: `handlers/events.py` reads and judges it, `accept.py` produces the record and waits for
the broker's acknowledgement; a customer then waits for its outcome (`results.py`).
"""
