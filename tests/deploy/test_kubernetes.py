"""The manifests: valid by Kubernetes' own schemas, closed, and of one mind with the image and the server."""

import copy

import kubernetes_validate
import pytest
import yaml

from covidcxr import __version__
from covidcxr.cli.serve import TOKEN_VARIABLE
from covidcxr.cli.serve import command as serve
from covidcxr.web.http.guard import OPEN
from support import dockerfile
from support.environment import DEPLOY

FOLDER = DEPLOY / "kubernetes"
FILES = {file.name: yaml.safe_load(file.read_text()) for file in FOLDER.glob("*.yaml")}
KUSTOMIZATION = FILES.pop("kustomization.yaml")
BY_KIND = {manifest["kind"]: manifest for manifest in FILES.values()}
VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The oldest that the manifests are for, and the newest that the validator knows."""
GRACE_S = 30
"""Seconds that gunicorn gives requests under way."""


@pytest.fixture
def pod():
    return copy.deepcopy(BY_KIND["Deployment"]["spec"]["template"]["spec"])


@pytest.fixture
def container(pod):
    (only,) = pod["containers"]
    return only


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", sorted(FILES))
def test_it_follows_the_schema(name, version):
    kubernetes_validate.validate(FILES[name], version, strict=True)


def test_the_validator_sees_mistakes(container):
    manifest = copy.deepcopy(BY_KIND["Deployment"])
    manifest["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = container["livenessProbe"]
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessprobe"):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_everything_but_the_way_in_from_outside_is_applied():
    assert sorted(KUSTOMIZATION["resources"]) == sorted(set(FILES) - {"ingress.yaml"})
    assert KUSTOMIZATION["namespace"] == BY_KIND["Namespace"]["metadata"]["name"]


def test_the_image_has_the_version_of_the_package(container):
    (image,) = KUSTOMIZATION["images"]
    assert image["name"] == container["image"]
    assert image["newTag"] == __version__


def test_the_pod_keeps_to_the_restricted_profile(pod, container):
    """Pod Security Standards, profile Restricted, and more."""
    assert BY_KIND["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"] is True
    user, group = (pod["securityContext"][name] for name in ("runAsUser", "runAsGroup"))
    assert f"{user}:{group}" == dockerfile.instruction("USER")
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(pod)


def test_the_command_is_one_that_the_server_takes(container):
    name, *arguments = container["args"]
    assert (dockerfile.words("ENTRYPOINT"), name) == (["covidcxr"], serve.name)
    options = serve.make_context(name, arguments).params
    assert options["host"] == "0.0.0.0"
    assert options["port"] == container["ports"][0]["containerPort"] == dockerfile.port()


def test_the_end_leaves_time_for_requests_under_way(pod, container):
    options = serve.make_context("serve", container["args"][1:]).params
    readiness = container["readinessProbe"]
    assert options["drain"] > readiness["periodSeconds"] * readiness["failureThreshold"]
    assert pod["terminationGracePeriodSeconds"] > options["drain"] + GRACE_S


def test_the_probes_ask_what_the_server_answers_to_everyone(container):
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    assert set(paths.values()) <= OPEN
    assert {container[f"{kind}Probe"]["httpGet"]["port"] for kind in paths} == {container["ports"][0]["name"]}


def test_the_token_is_read_from_the_variable_of_the_server(container):
    (variable,) = container["env"]
    assert variable["name"] == TOKEN_VARIABLE


def test_everything_finds_its_pods_and_ports(container):
    labels = BY_KIND["Deployment"]["spec"]["template"]["metadata"]["labels"]
    port = container["ports"][0]["name"]
    assert BY_KIND["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert BY_KIND["Service"]["spec"]["selector"].items() <= labels.items()
    assert BY_KIND["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert BY_KIND["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert BY_KIND["Service"]["spec"]["ports"][0]["targetPort"] == port
    assert BY_KIND["NetworkPolicy"]["spec"]["ingress"][0]["ports"][0]["port"] == port
    target = BY_KIND["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", BY_KIND["Deployment"]["metadata"]["name"])
    (rule,) = BY_KIND["Ingress"]["spec"]["rules"]
    service = rule["http"]["paths"][0]["backend"]["service"]
    assert service["name"] == BY_KIND["Service"]["metadata"]["name"]
    assert service["port"]["name"] == BY_KIND["Service"]["spec"]["ports"][0]["name"]


def test_the_server_reaches_nothing():
    assert BY_KIND["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert BY_KIND["NetworkPolicy"]["spec"]["egress"] == []
