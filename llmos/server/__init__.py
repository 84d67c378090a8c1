"""The network: other programs talk to llmos here. Nothing is here yet.

The OpenAI-compatible HTTP API, the web console and the MCP server belong here. Talking to other servers does not: that
is `llmos.engine.remote` for models and `llmos.tools` for the rest.
"""
