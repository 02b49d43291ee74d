"""Ways to an identity token at the laboratory's platforms, each as options of a module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lab.identity import azure, github, okta
from lab.identity.aws_metadata import REGION
from lab.identity.spiffe import agent
from lab.tests.platforms import AUDIENCE

AZURE_APP = "3f1c7f0e-8b52-4a0d-9c55-1f6e0d2b7a94"


@dataclass(frozen=True)
class Case:
    """A way to a token: the module's options, and the rule that accepts that token."""

    source: str
    platform: str
    options: dict[str, str | list[str]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    rule: dict[str, Any] = field(default_factory=dict)


def file(identity, path):
    return Case("file", "kubernetes", {"identity_file": token_file(identity, path)})


def environment(identity, path):
    return Case(
        "environment",
        "kubernetes",
        {"identity_variable": "CI_JOB_JWT"},
        {"CI_JOB_JWT": identity.token()},
    )


def environment_vendor_variable(identity, path):
    variables = {"ANTHROPIC_IDENTITY_TOKEN": identity.token()}
    return Case("environment", "kubernetes", environment=variables)


def environment_vendor_file(identity, path):
    variables = {"ANTHROPIC_IDENTITY_TOKEN_FILE": token_file(identity, path)}
    return Case("environment", "kubernetes", environment=variables)


def literal(identity, path):
    return Case("literal", "kubernetes", {"identity_literal": identity.token()})


def command(identity, path):
    words = ["cat", token_file(identity, path)]
    return Case("command", "kubernetes", {"identity_command": words})


def kubernetes(identity, path):
    projected = identity.ask("project", str(path / "tokens"), AUDIENCE)["token_file"]
    return Case("kubernetes", "kubernetes", {"identity_file": projected})


def gcp(identity, path):
    return Case("gcp", "gcp", {"identity_endpoint": identity.url})


def azure_machine(identity, path):
    return Case(
        "azure",
        "azure",
        {"identity_endpoint": identity.url, "identity_azure_app_id": AZURE_APP},
        rule={"audience": f"api://{AZURE_APP}", "max_lifetime": azure.MAX_LIFETIME},
    )


def azure_user_assigned(identity, path):
    system = azure_machine(identity, path)
    return Case(
        "azure",
        "azure",
        {**system.options, "identity_azure_client_id": azure.USER_CLIENT_ID},
        rule={**system.rule, "subject": azure.USER_SUBJECT},
    )


def aws_instance(identity, path):
    """Region and role come from the instance."""
    return Case(
        "aws",
        "aws",
        {"identity_endpoint": identity.url, "identity_aws_metadata_endpoint": identity.url},
    )


def aws_instance_by_variables(identity, path):
    """The variables that AWS's own tools know."""
    variables = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{identity.url}/", "AWS_REGION": REGION}
    return Case("aws", "aws", {"identity_endpoint": identity.url}, variables)


def aws_credentials_in_variables(identity, path):
    role = identity.directory.aws_role
    return Case(
        "aws",
        "aws",
        {"identity_endpoint": identity.url, "identity_aws_region": REGION},
        {
            "AWS_ACCESS_KEY_ID": role.key_id,
            "AWS_SECRET_ACCESS_KEY": role.secret,
            "AWS_SESSION_TOKEN": role.session,
        },
    )


def spiffe_library(identity, path):
    return Case("spiffe", "spiffe", {"identity_spiffe_socket": str(identity.directory.workload)})


def spiffe_library_by_variable(identity, path):
    """The variable holds a URI (SPIFFE Workload Endpoint, section 4)."""
    variables = {"SPIFFE_ENDPOINT_SOCKET": f"unix://{identity.directory.workload}"}
    return Case("spiffe", "spiffe", environment=variables)


def spiffe_agent(identity, path):
    command = path / "spire-agent"
    agent.install(command)
    by_library = spiffe_library(identity, path)
    options = {**by_library.options, "identity_spiffe_agent": str(command)}
    return Case("spiffe", "spiffe", options)


def github_actions(identity, path):
    """The rule is for every branch of the repository and checks one more claim."""
    return Case(
        "github_actions",
        "github",
        environment={
            "ACTIONS_ID_TOKEN_REQUEST_URL": identity.url + github.REQUEST,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": identity.directory.github_token(),
        },
        rule={"subject": "repo:acme/tunnels:*", "claims": {"ref": "refs/heads/main"}},
    )


def okta_application(identity, path):
    return Case(
        "okta",
        "okta",
        {
            "identity_okta_issuer": identity.ask("status")["okta"]["issuer"],
            "identity_okta_client_id": okta.CLIENT_ID,
            "identity_okta_key_file": str(identity.directory.okta_client),
            "identity_okta_scope": okta.SCOPE,
        },
    )


def token_file(identity, path):
    (path / "token").write_text(identity.token() + "\n")
    return str(path / "token")


CASES = [
    *(file, environment, environment_vendor_variable, environment_vendor_file),
    *(literal, command, kubernetes),
    *(gcp, azure_machine, azure_user_assigned),
    *(aws_instance, aws_instance_by_variables, aws_credentials_in_variables),
    *(spiffe_library, spiffe_library_by_variable, spiffe_agent),
    *(github_actions, okta_application),
]
# The caller chooses the audience on these platforms.
ANY_AUDIENCE = [gcp, aws_instance, spiffe_library, spiffe_agent, github_actions]
# These platforms are services at a name of their own, not this machine or its link.
OVER_TLS = [aws_credentials_in_variables, github_actions, okta_application]
