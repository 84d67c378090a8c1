"""The tools that come with llmos, each a function with `@tool`; `llmos.tools.registry` names them."""
