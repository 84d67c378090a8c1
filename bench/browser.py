"""`python -m bench browser`: what the browser sees, does and refuses. Each part's rows are in a module of their own.

Needs a Chromium; the rows on MiniWoB++ need `pip install --no-deps miniwob`.
"""

from __future__ import annotations

from bench import (
    browser_handles,
    browser_parallel,
    browser_robust,
    browser_safety,
    browser_skills,
    browser_speed,
    browser_tasks,
    browser_tokens,
)

GROUPS = (
    *browser_handles.GROUPS,
    *browser_tokens.GROUPS,
    *browser_speed.GROUPS,
    *browser_robust.GROUPS,
    *browser_safety.GROUPS,
    *browser_parallel.GROUPS,
    browser_skills.taught_skills,
    *browser_tasks.GROUPS,
)
