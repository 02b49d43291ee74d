"""A lab from its first step to its end. It imports every room but ``commands``.

``lifecycle`` is what `lab up` and `lab down` do: it writes a ``spec`` and starts the ``keeper``,
which starts the ``supervisor``, which makes all ``parts``; they exchange ``messages``. ``facts`` is
what programs may know of a lab; ``cleanup`` and ``mounts`` remove it, ``kept`` keeps its logs.
"""
