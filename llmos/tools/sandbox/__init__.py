"""Runs programs that nobody vouches for: confined to a workspace, without network, with limits. See docs/sandbox.md.

Knows neither tools nor policy.
"""

from llmos.tools.sandbox.core import Mechanism, Sandbox
from llmos.tools.sandbox.job import Completed
from llmos.tools.sandbox.report import Found, Report, probe

__all__ = ["Completed", "Found", "Mechanism", "Report", "Sandbox", "probe"]
