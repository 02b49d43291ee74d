"""Runs the stages of a test run beside each other, and says at the end what each of them did."""
