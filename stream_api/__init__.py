"""The reading service: customers, events, and the update feed."""
