"""What the operator is made of: it reads instructions, finds the controls that they mean, acts, and checks effects."""
