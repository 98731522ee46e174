"""A seeded fault campaign: mixed writes while processes die, disks fill and lines are cut.

`python -m tests.chaos --help`. Read `campaign.py` first: it is the table of contents.
"""
