"""The Kubernetes manifests match the published schemas of Kubernetes and of the Dask operator."""

from __future__ import annotations

import copy
import sys
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import yaml

from etl.core.config import Config
from etl.core.config_file import validated
from etl.run.cluster_kinds import Kubernetes
from etl.run.dask_cluster_resource import dask_cluster_resource
from tests.support.processes import ROOT, run

kubernetes_validate = pytest.importorskip("kubernetes_validate")
MANIFESTS = [
    document
    for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
OPERATOR = "kubernetes.dask.org/"


def schema_of(kind: str) -> dict[str, Any]:
    """Return the operator's schema of a kind, without further keys: the server would drop unknown ones."""
    chart = files("dask_kubernetes") / "operator" / "deployment" / "helm" / "dask-kubernetes-operator"
    definition = yaml.safe_load((chart / "crds" / f"{kind.lower()}.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
    close(schema)
    return schema


def close(schema: Any) -> None:
    if isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            close(value)
    elif isinstance(schema, list):
        for value in schema:
            close(value)


def check(manifest: dict[str, Any]) -> None:
    if manifest["apiVersion"].startswith(OPERATOR):
        pytest.importorskip("dask_kubernetes")
        jsonschema.validate(manifest, schema_of(manifest["kind"]))
    else:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def named(kind: str) -> dict[str, Any]:
    (found,) = (manifest for manifest in MANIFESTS if manifest["kind"] == kind)
    return copy.deepcopy(found)


@pytest.mark.slow
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_manifests_keep_to_their_schemas(manifest: dict[str, Any]) -> None:
    check(manifest)


@pytest.mark.slow
def test_the_schemas_do_refuse() -> None:
    cron, cluster = named("CronJob"), named("DaskCluster")
    cron["spec"]["jobTemplate"]["spec"]["backoffLimits"] = 0
    cluster["spec"]["worker"]["spec"]["containers"][0]["images"] = "i"
    for manifest in (cron, cluster):
        with pytest.raises(jsonschema.ValidationError):
            check(manifest)


def test_they_name_each_other_and_configs_that_are_right() -> None:
    account, binding, role = named("ServiceAccount"), named("RoleBinding"), named("Role")
    assert binding["subjects"][0]["name"] == account["metadata"]["name"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    pod = named("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    (driver,), (volume,) = pod["containers"], pod["volumes"]
    texts = named("ConfigMap")["data"]
    assert volume["configMap"]["name"] == named("ConfigMap")["metadata"]["name"]
    folder = driver["volumeMounts"][0]["mountPath"]
    assert {word for word in driver["args"] if word.startswith(folder)} == {
        f"{folder}/{name}" for name in texts
    }
    cluster = validated(Kubernetes, yaml.safe_load(texts["cluster.yaml"]), "cluster.yaml")
    validated(Config, yaml.safe_load(texts["nightly.yaml"]), "nightly.yaml")
    assert (cluster.image, cluster.namespace) == (driver["image"], account["metadata"]["namespace"])
    assert {manifest["metadata"]["namespace"] for manifest in MANIFESTS} == {cluster.namespace}


@pytest.mark.slow
def test_what_the_config_asks_for_is_a_cluster_of_the_operator() -> None:
    texts = named("ConfigMap")["data"]
    config = validated(Kubernetes, yaml.safe_load(texts["cluster.yaml"]), "cluster.yaml")
    check(config.arguments()["custom_cluster_spec"])


@pytest.mark.campaign
def test_containers_start_commands_that_dask_has() -> None:
    asked = (
        dask_cluster_resource("name", "image", 1, {}, {}, {"memory": 1})["spec"],
        named("DaskCluster")["spec"],
    )
    for spec in asked:
        for part in ("scheduler", "worker"):
            (container,) = spec[part]["spec"]["containers"]
            program, command, *options = container["args"]
            done = run([sys.executable, "-m", program, command, "--help"])
            assert done.returncode == 0, done.stderr
            assert [word for word in options if word.startswith("--") and word not in done.stdout] == []
