"""The configuration: its values, its file, and the rules between them.

``model`` has the immutable values and their defaults. ``load`` reads a file: it returns a
``Config``, or raises every problem at once. ``reader`` knows YAML and lines, ``durations`` Go's
durations, ``rules`` what is allowed, ``route_options`` how routes may differ. ``wire`` carries a
``Config`` to a worker.

Every room may import ``model``. Only the command line and the supervisor load a file: a worker
does without PyYAML. The preflight has the same rules judge its document on the controller, so the
room imports no other room, and nothing but PyYAML and the standard library.
"""
