"""``make release VERSION=x.y.z``: one commit, one tag, one checked archive; docs/releasing.md.

``steps`` is the way of a release from start to end, and of one that was interrupted. ``places``
knows where the version is written, ``rules`` when there is no release, ``checks`` what the archive
has to withstand. ``repository`` is git. Nothing here is shipped.
"""
