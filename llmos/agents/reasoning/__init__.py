"""Ways of reasoning: small functions over lines of thought, each with the paper that it is from and what it costs.

All take a branch (a process is one), a question, and what the answer looks like; none changes the branch's context.
"""

from llmos.agents.reasoning.asking import self_ask
from llmos.agents.reasoning.best import best_of_n
from llmos.agents.reasoning.chain import chain_of_thought
from llmos.agents.reasoning.least import least_to_most
from llmos.agents.reasoning.parts import LINE, NUMBER, Example, Form, Reasoned, span_of
from llmos.agents.reasoning.planning import plan_and_solve
from llmos.agents.reasoning.refining import reflect_and_refine
from llmos.agents.reasoning.tree import tree_of_thoughts

__all__ = [
    "LINE",
    "NUMBER",
    "Example",
    "Form",
    "Reasoned",
    "best_of_n",
    "chain_of_thought",
    "least_to_most",
    "plan_and_solve",
    "reflect_and_refine",
    "self_ask",
    "span_of",
    "tree_of_thoughts",
]
