"""Platforms that tell a machine who it is, with answers signed by the lab's own issuers.

``issuers`` have the keys, which ``discovery`` publishes; each platform has a file, SPIFFE the
package ``spiffe``; ``platforms`` serves them together. ``directory`` has their files, ``part``
their place in a lab. It imports ``network``, ``wire`` and ``core``.
"""
