"""What is measured, and against whom: `python -m bench NAME`. Not part of the package."""
