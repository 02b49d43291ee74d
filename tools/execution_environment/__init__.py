"""Makes the execution environment: the image in which AWX and others run the collection.

``podman`` runs podman with settings of its own; ``inputs`` gathers the collection's archive, the
wheels and the bundle; ``base`` makes the image of Debian that is built on without a network;
``image`` builds with ansible-builder; ``contents`` writes the SBOM of a finished image.

Called by ``tools/execution-environment``. Imports ``lab`` for Debian's tree alone.
"""
