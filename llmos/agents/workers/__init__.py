"""Ready-made workers: researcher, coder, analyst, and a seat for the operator.

Each takes a task in words and inputs as data, and gives a `Report` as JSON data. Inputs that all know: `task_id`;
`earlier`, reports of other subtasks; `reasons`, why earlier attempts were not accepted. Documentation: docs/workers.md.
"""
