"""The network of a lab, and who answers in it besides the services. It imports ``core``.

``addresses`` has all of them; ``namespaces`` makes the bridge and the places around it; ``dns`` is
the resolver; ``surroundings`` is the neighbour and the Internet, whose ``sinks`` take what comes.
"""
