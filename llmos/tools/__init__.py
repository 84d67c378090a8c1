"""The peripherals: what an agent can do in the world. Nothing is here yet.

The tool decorator, built-in tools, the sandbox, the browser and the MCP client belong here. Whether a call is allowed
is not decided here: that is `llmos.kernel`.
"""
