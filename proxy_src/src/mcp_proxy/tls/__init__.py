"""Certificates, and the TLS contexts made of them.

``certificates`` reads, checks and watches files, in the supervisor. ``contexts`` makes the contexts
towards clients and upstreams, in the workers, which need not look into certificates.
``route_files`` does for single routes what ``certificates`` does for the server certificate.
``ticket_keys`` lets the workers resume each other's sessions. ``openssl`` makes settings that the
standard library has no way to make.

``upstream``, ``tunnel``, ``process`` and the command line use it. The room imports ``watch`` and
the values of ``config``, and knows nothing of connections.
"""
