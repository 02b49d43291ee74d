"""Runs the stages of a test run in parallel, and reports the outcome of each at the end."""
