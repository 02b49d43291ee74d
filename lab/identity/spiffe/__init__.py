"""The SPIFFE Workload API, and its command line client."""
