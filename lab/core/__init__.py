"""Things that every room of the laboratory needs. It imports no other room.

``errors`` has the exception that a command turns into a message; ``checkouts`` and ``paths`` say
whose a lab is and where its files are; ``processes`` starts helpers; ``progress`` is for the person
who waits; ``credentials`` makes keys and certificates; ``services`` is how a part of the lab tells
the supervisor its needs.
"""
