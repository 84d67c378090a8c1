"""Synchronization primitives of agents: small functions that start, check, order and end lines of work.

They need no model, resume inside themselves after a kill, and leave nothing running behind them. Documentation:
docs/synchronization.md.
"""

from __future__ import annotations

from llmos.agents.sync.gather import delegate, join, map_reduce, pipeline
from llmos.agents.sync.meet import Barrier, Semaphore
from llmos.agents.sync.supervise import Job, supervise
from llmos.agents.sync.verify import Attempt, Verified, failover, verify_and_retry
from llmos.agents.sync.vote import Vote, race, vote

__all__ = [
    "Attempt",
    "Barrier",
    "Job",
    "Semaphore",
    "Verified",
    "Vote",
    "delegate",
    "failover",
    "join",
    "map_reduce",
    "pipeline",
    "race",
    "supervise",
    "verify_and_retry",
    "vote",
]
