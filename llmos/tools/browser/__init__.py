"""The browser: pages as agents see them, actions on them, and the walls around both."""
