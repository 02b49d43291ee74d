"""Who may call the API. It imports the API's ``state`` and ``errors``.

``federation`` exchanges an identity token, which ``jwks`` verifies with its issuer's keys, for an
access token; ``access`` judges the access token, scope and workspace of each later request.
"""
