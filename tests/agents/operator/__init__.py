"""Tests of the operator: what it reads, finds, does, and does again."""
