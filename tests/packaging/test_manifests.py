"""The Kubernetes objects as kustomize renders them. Needs kubectl, and no cluster."""

import json
import re
import shutil
import subprocess
import tomllib
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings, load
from tests.docs.routes import public_paths
from tests.packaging.dockerfile import ROOT, environment, instructions

pytestmark = pytest.mark.slow

Object = dict[str, Any]
OLDEST_KUBECTL = (1, 21)  # the first whose kustomize knows components
LABEL = {"app.kubernetes.io/name": "serin"}


def kubectl() -> str:
    found = shutil.which("kubectl")
    if not found:
        pytest.skip("kubectl is not installed: k8s/ was not rendered")
    told = subprocess.run([found, "version", "--client", "-o", "json"], capture_output=True, text=True, timeout=30)
    version = json.loads(told.stdout)["clientVersion"]
    if (int(version["major"]), int(re.sub(r"\D", "", version["minor"]))) < OLDEST_KUBECTL:
        pytest.skip(f"kubectl {version['gitVersion']} is too old to render k8s/")
    return found


@pytest.fixture(scope="module", params=["base", "overlays/full"])
def objects(request: pytest.FixtureRequest) -> list[Object]:
    command = [kubectl(), "kustomize", str(ROOT / "k8s" / request.param)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [item for item in objects if item["kind"] == kind]


def pod_with(components: tuple[str, ...], folder: Path) -> Object:
    """The pod of the base with these components, in this order."""
    shutil.copytree(ROOT / "k8s", folder / "k8s")
    overlay = folder / "k8s" / "overlays" / "of_a_test"
    overlay.mkdir()
    kustomization = {"resources": ["../../base"], "components": [f"../../components/{name}" for name in components]}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    done = subprocess.run([kubectl(), "kustomize", str(overlay)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (found,) = of_kind([item for item in yaml.safe_load_all(done.stdout) if item], "Deployment")
    pod: Object = found["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("components", list(permutations(("keys", "models-volume", "tls"))), ids="-".join)
def test_components_leave_each_other_alone_in_any_order(components: tuple[str, ...], tmp_path: Path) -> None:
    pod = pod_with(components, tmp_path)
    (container,) = pod["containers"]
    given = {item["name"] for item in container["env"]}
    mounted = {item["name"] for item in container["volumeMounts"]}
    assert given == {
        "SERIN_KEYS_FILE",
        "SERIN_OPEN_METRICS",
        "SERIN_TLS_CERT_FILE",
        "SERIN_TLS_KEY_FILE",
        "SERIN_ADMIN_TLS",
    }
    assert mounted == {item["name"] for item in pod["volumes"]} >= {"keys", "models", "tls", "state"}


def test_the_component_of_tls_mounts_the_secret_and_probes_over_it(tmp_path: Path) -> None:
    pod = pod_with(("tls",), tmp_path)
    (container,) = pod["containers"]
    said = {item["name"]: item.get("value") for item in container["env"]}
    (mount,) = [item for item in container["volumeMounts"] if item["name"] == "tls"]
    (volume,) = [item for item in pod["volumes"] if item["name"] == "tls"]
    assert said["SERIN_TLS_CERT_FILE"] == f"{mount['mountPath']}/tls.crt"
    assert said["SERIN_TLS_KEY_FILE"] == f"{mount['mountPath']}/tls.key"
    assert volume["secret"]["defaultMode"] == 0o440
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"
        assert container[probe]["httpGet"]["port"] == "http"


@pytest.fixture
def deployment(objects: list[Object]) -> Object:
    (found,) = of_kind(objects, "Deployment")
    return found


@pytest.fixture
def pod(deployment: Object) -> Object:
    found: Object = deployment["spec"]["template"]["spec"]
    return found


@pytest.fixture
def container(pod: Object) -> Object:
    (found,) = pod["containers"]
    return dict(found)


@pytest.fixture
def settings(objects: list[Object], tmp_path: Any) -> Settings:
    """What the container would read: the file of the config map under the variables of the image."""
    (config,) = of_kind(objects, "ConfigMap")
    file = tmp_path / "serin.toml"
    file.write_text(config["data"]["serin.toml"])
    assert not set(tomllib.loads(file.read_text())) & {"admin_host", "models", "state", "host"}
    return load({"config": str(file)})


def test_every_object_satisfies_the_schema_of_its_kind(objects: list[Object]) -> None:
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed: no schema check"
    )
    for item in objects:
        if not item["apiVersion"].startswith("monitoring.coreos.com/"):  # not a kind of Kubernetes itself
            kubernetes_validate.validate(item, desired_version="1.32", strict=True)


def test_names_carry_no_namespace_and_are_unique(objects: list[Object]) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(names) == len(set(names))
    assert not [item for item in objects if "namespace" in item["metadata"]]


def test_one_replica_is_replaced_and_nothing_scales_or_guards_it(objects: list[Object], deployment: Object) -> None:
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert not of_kind(objects, "HorizontalPodAutoscaler")
    assert not of_kind(objects, "PodDisruptionBudget")


def test_every_selector_selects_the_pod_and_says_so(objects: list[Object], deployment: Object) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    services, (policy,) = of_kind(objects, "Service"), of_kind(objects, "NetworkPolicy")
    selectors = [service["spec"]["selector"] for service in services]
    selectors += [deployment["spec"]["selector"]["matchLabels"], policy["spec"]["podSelector"]["matchLabels"]]
    assert len(selectors) == 4
    assert all(selector == LABEL and selector.items() <= labels.items() for selector in selectors)


def test_services_reach_the_public_ports_by_name_and_never_the_admin_port(
    objects: list[Object], container: Object
) -> None:
    defaults = {name: Settings.model_fields[f"{name}_port"].default for name in ("http", "grpc")}
    assert container["ports"] == [{"name": name, "containerPort": port} for name, port in defaults.items()]
    ports = [port for service in of_kind(objects, "Service") for port in service["spec"]["ports"]]
    assert {(port["targetPort"], port["port"]) for port in ports} == set(defaults.items())
    assert str(Settings.model_fields["admin_port"].default) not in json.dumps(objects)


def test_the_admin_api_stays_on_the_loopback_of_the_pod(settings: Settings, container: Object) -> None:
    assert settings.admin_host == "127.0.0.1"
    assert not {item["name"] for item in container.get("env", [])} & {"SERIN_ADMIN_HOST"}


def test_without_keys_only_the_models_are_open_and_with_them_nothing_is(
    container: Object, pod: Object, settings: Settings
) -> None:
    given = {item["name"]: item["value"] for item in container.get("env", [])}
    assert environment()["SERIN_INSECURE_OPEN_MODELS"] == "true"
    assert not settings.insecure_open_admin
    assert set(given) <= {"SERIN_KEYS_FILE", "SERIN_OPEN_METRICS"}
    if given:
        folder, _, name = given["SERIN_KEYS_FILE"].rpartition("/")
        (mount,) = (m for m in container["volumeMounts"] if m["mountPath"] == folder)
        (volume,) = (v for v in pod["volumes"] if v["name"] == mount["name"])
        assert mount["readOnly"] is True
        assert name == "keys.toml"
        assert volume["secret"] == {"secretName": "serin-keys"}


def test_the_pod_gives_up_every_right_it_can(pod: Object, container: Object, objects: list[Object]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert of_kind(objects, "ServiceAccount")[0]["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_user_is_that_of_the_image(pod: Object) -> None:
    (user,) = (i.text for i in instructions() if i.word == "USER")
    context = pod["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
    assert context["fsGroup"] == context["runAsGroup"]


def test_the_state_of_the_image_is_on_a_volume(objects: list[Object], pod: Object, container: Object) -> None:
    claims = {item["metadata"]["name"] for item in of_kind(objects, "PersistentVolumeClaim")}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(volumes) == set(mounts.values())
    state = volumes[mounts[environment()["SERIN_STATE"]]]
    assert state["persistentVolumeClaim"]["claimName"] in claims
    assert {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v} == claims


def test_the_settings_file_is_where_the_argument_says(container: Object, pod: Object, objects: list[Object]) -> None:
    flag, path = container["args"]
    (config,) = of_kind(objects, "ConfigMap")
    (mount,) = (m for m in container["volumeMounts"] if path.startswith(m["mountPath"] + "/"))
    (volume,) = (v for v in pod["volumes"] if v["name"] == mount["name"])
    assert flag == "--config"
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert path.rpartition("/")[2] in config["data"]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_probe_asks_a_path_that_serin_has(container: Object, probe: str) -> None:
    asked = container[probe]["httpGet"]
    assert asked["port"] == "http"
    assert asked["path"] in public_paths()
    assert container[probe]["timeoutSeconds"] <= container[probe]["periodSeconds"]


def test_there_is_time_to_drain_before_the_kill(pod: Object, settings: Settings) -> None:
    needed = settings.drain_delay_seconds + settings.drain_limit_seconds
    assert pod["terminationGracePeriodSeconds"] >= needed + 10


def test_resources_are_asked_for_and_bounded(container: Object) -> None:
    assert set(container["resources"]["requests"]) == set(container["resources"]["limits"]) == {"cpu", "memory"}


def test_the_policy_lets_in_only_http_and_grpc_and_lets_nothing_out(objects: list[Object]) -> None:
    (policy,) = of_kind(objects, "NetworkPolicy")
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"port": name, "protocol": "TCP"} for name in ("http", "grpc")]
    assert rule["from"]
    assert policy["spec"]["egress"] == []
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_the_monitor_scrapes_one_service_and_a_port_that_it_has(objects: list[Object]) -> None:
    for monitor in of_kind(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = (s for s in of_kind(objects, "Service") if wanted <= s["metadata"]["labels"].items())
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        assert endpoint["path"] in public_paths()


def test_the_image_tag_is_the_version_of_the_project(container: Object) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert container["image"] == f"serin:{project['version']}"
