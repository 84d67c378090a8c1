"""Tests of the browser: its pages, its eyes, its hands, its walls."""
