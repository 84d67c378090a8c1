"""The MCP client: servers of other programs as tools.

What servers there are (`settings`), what was accepted of them (`pins`), how one is started and spoken to (`stdio`,
`http`, `connection`, `pool`), and what an agent sees of it (`schema`, `results`, `device`). The SDK is imported when a
server is first needed. Documentation: docs/mcp.md.
"""
