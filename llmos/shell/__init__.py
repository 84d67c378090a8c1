"""The REPL and the command line: what a person sees of llmos. Nothing below knows that it exists."""
