"""Programs that workers run in the sandbox: plain files of Python, sent as text, that import nothing of llmos."""
