"""The rules of the hub, pure: standard library and each other, no async, no clock, no randomness.

What a write means, how customers are matched and merged, what a refusal says. Reading requests is
in the services, storing is in `headwater.postgres`.
"""
