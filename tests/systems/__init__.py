"""Debian's releases that CI does not boot, as hosts: from bare to torn down."""
