"""The kernel: protocols of the parts around it, and in time processes, system calls, the journal and the policy.

Knows no model, tool, memory or agent: it sees them through `llmos.kernel.protocols` only.
"""
