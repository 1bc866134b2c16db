"""What no schema knows: names, ports, selectors and numbers in manifests fit each other. Each check yields its faults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.k8s.manifests import (
    KUBERAY_POD_LABELS,
    Manifest,
    Pods,
    of_kind,
    pods,
    ray_clusters,
    ray_service,
    selected,
    serve_config,
)

Check = Callable[[list[Manifest]], Iterator[str]]


def selectors_select(everything: list[Manifest]) -> Iterator[str]:
    """Every selector finds pods."""
    for name, selector in _selectors(everything):
        if not selected(everything, selector):
            yield f"{name}: no pod has the labels {selector}"


def _selectors(everything: list[Manifest]) -> Iterator[tuple[str, dict[str, str]]]:
    for each in everything:
        name, spec = f"{each['kind']} {each['metadata']['name']}", each.get("spec", {})
        if each["kind"] == "Service":
            yield name, spec["selector"]
        elif each["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            yield name, spec["selector"]["matchLabels"]
        elif each["kind"] == "NetworkPolicy":
            yield name, spec["podSelector"]["matchLabels"]
            peers = [peer for rule in spec.get("ingress", []) for peer in rule.get("from", [])]
            for peer in peers:
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    yield f"{name} from", peer["podSelector"]["matchLabels"]
    for each in pods(everything):
        for constraint in each.template["spec"].get("topologySpreadConstraints", []):
            yield f"{each.owner}: topologySpreadConstraints", constraint["labelSelector"]["matchLabels"]


def ports_exist(everything: list[Manifest]) -> Iterator[str]:
    """Every port that is called by its name is one of the pods that are meant."""
    for service in of_kind(everything, "Service"):
        for port in service["spec"]["ports"]:
            for each in selected(everything, service["spec"]["selector"]):
                if port["targetPort"] not in each.ports:
                    yield f"Service {service['metadata']['name']}: {each.owner} has no port {port['targetPort']}"
    for policy in of_kind(everything, "NetworkPolicy"):
        known = {name for each in selected(everything, policy["spec"]["podSelector"]["matchLabels"]) for name in each.ports}
        for port in [port for rule in policy["spec"].get("ingress", []) for port in rule.get("ports", [])]:
            if port["port"] not in known:
                yield f"NetworkPolicy {policy['metadata']['name']}: no pod has a port {port['port']}"
    for monitor in of_kind(everything, "PodMonitor"):
        known = {name for each in selected(everything, monitor["spec"]["selector"]["matchLabels"]) for name in each.ports}
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if endpoint["port"] not in known:
                yield f"PodMonitor {monitor['metadata']['name']}: no pod has a port {endpoint['port']}"
    for each in pods(everything):
        for probe in _probes(each):
            port = probe["httpGet"]["port"]
            if isinstance(port, str) and port not in each.ports:
                yield f"{each.owner}: a probe asks the port {port}, which there is none of"


def scraped_ports_are_open(everything: list[Manifest]) -> Iterator[str]:
    """What Prometheus is told to scrape, it is let through to."""
    for monitor in of_kind(everything, "PodMonitor"):
        for policy in of_kind(everything, "NetworkPolicy"):
            if "Ingress" not in policy["spec"]["policyTypes"]:
                continue
            rules = [rule for rule in policy["spec"]["ingress"] if _from_namespace(rule, "monitoring")]
            open_ports = {port["port"] for rule in rules for port in rule["ports"]}
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                if endpoint["port"] not in open_ports:
                    yield f"NetworkPolicy {policy['metadata']['name']}: the port {endpoint['port']} is closed to Prometheus"


def _from_namespace(rule: Manifest, name: str) -> bool:
    peers = [peer.get("namespaceSelector", {}).get("matchLabels", {}) for peer in rule.get("from", [])]
    return any(peer.get("kubernetes.io/metadata.name") == name for peer in peers)


def backends_exist(everything: list[Manifest]) -> Iterator[str]:
    """Every Ingress leads to a Service that is here, or that KubeRay makes of the RayService, and has TLS for its hosts."""
    known = {
        each["metadata"]["name"]: {port["name"] for port in each["spec"]["ports"]} for each in of_kind(everything, "Service")
    }
    for service in of_kind(everything, "RayService"):
        known[f"{service['metadata']['name']}-serve-svc"] = {"serve"}
    for ingress in of_kind(everything, "Ingress"):
        name, secure = ingress["metadata"]["name"], [host for tls in ingress["spec"]["tls"] for host in tls["hosts"]]
        for rule in ingress["spec"]["rules"]:
            if rule["host"] not in secure:
                yield f"Ingress {name}: {rule['host']} has no TLS"
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                if backend["port"]["name"] not in known.get(backend["name"], ()):
                    yield f"Ingress {name}: no Service {backend['name']} with a port {backend['port']['name']}"


def budgets_are_sane(everything: list[Manifest]) -> Iterator[str]:
    """A budget lets pods go, but not all of them, and never counts the head, which is alone."""
    for budget in of_kind(everything, "PodDisruptionBudget"):
        name, spec = budget["metadata"]["name"], budget["spec"]
        if ("minAvailable" in spec) == ("maxUnavailable" in spec):
            yield f"PodDisruptionBudget {name}: minAvailable or maxUnavailable, and not both"
            continue
        for each in selected(everything, spec["selector"]["matchLabels"]):
            may_go = spec["maxUnavailable"] if "maxUnavailable" in spec else each.replicas - spec["minAvailable"]
            if each.labels.get("ray.io/node-type") == "head":
                yield f"PodDisruptionBudget {name}: it counts the head"
            elif not 0 < may_go < each.replicas:
                yield f"PodDisruptionBudget {name}: {may_go} of {each.replicas} pods may go"


def volumes_exist(everything: list[Manifest]) -> Iterator[str]:
    """Every mount has a volume and every volume a mount; a ConfigMap that is mounted is here."""
    maps = {each["metadata"]["name"] for each in of_kind(everything, "ConfigMap")}
    for each in pods(everything):
        volumes = {volume["name"]: volume for volume in each.template["spec"].get("volumes", [])}
        mounted = {mount["name"] for container in each.containers for mount in container.get("volumeMounts", [])}
        for name in mounted ^ volumes.keys():
            yield f"{each.owner}: the volume {name} is {'not declared' if name in mounted else 'not used'}"
        for volume in volumes.values():
            if "configMap" in volume and volume["configMap"]["name"] not in maps:
                yield f"{each.owner}: no ConfigMap {volume['configMap']['name']}"


def pods_are_restricted(everything: list[Manifest]) -> Iterator[str]:
    """No root, no capabilities, nothing to write to but volumes; what is used is asked for and limited; images are named."""
    for each in pods(everything):
        spec = each.template["spec"]
        security = spec.get("securityContext", {})
        if not security.get("runAsNonRoot") or not security.get("runAsUser"):
            yield f"{each.owner}: may run as root"
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{each.owner}: has no seccomp profile"
        for container in each.containers:
            own = container.get("securityContext", {})
            wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            if own != wanted:
                yield f"{each.owner} {container['name']}: the securityContext is not {wanted}"
            if "/tmp" not in [mount["mountPath"] for mount in container.get("volumeMounts", [])]:
                yield f"{each.owner} {container['name']}: no volume at /tmp, which is HOME"
            resources = container.get("resources", {})
            for kind in ("requests", "limits"):
                if not {"cpu", "memory"} <= resources.get(kind, {}).keys():
                    yield f"{each.owner} {container['name']}: resources.{kind} lacks cpu or memory"
            if resources.get("requests", {}).get("nvidia.com/gpu") != resources.get("limits", {}).get("nvidia.com/gpu"):
                yield f"{each.owner} {container['name']}: a GPU cannot be shared: request and limit differ"
            if re.fullmatch(r"[^:]+:(?!latest$)[^:]+", container["image"]) is None:
                yield f"{each.owner} {container['name']}: the image {container['image']} has no fixed tag"


def kuberays_labels_are_left_alone(everything: list[Manifest]) -> Iterator[str]:
    for _, cluster in ray_clusters(everything):
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            for label in KUBERAY_POD_LABELS.keys() & group["template"]["metadata"]["labels"].keys():
                yield f"{label} is KubeRay's: the head's Service selects by it"


def ports_of_serve_are_open(everything: list[Manifest]) -> Iterator[str]:
    """Where Ray Serve listens is where pods say that they do."""
    config = serve_config(everything)
    listens = {"serve": config["http_options"]["port"], "grpc": config["grpc_options"]["port"]}
    for application in config["applications"]:
        if "metrics_port" in application["args"]:
            listens["app-metrics"] = application["args"]["metrics_port"]
    for each in pods(everything):
        worker = each.labels.get("ray.io/node-type") == "worker"
        expected = listens if worker else {name: listens[name] for name in ("serve", "grpc")}
        for name, port in expected.items():
            if each.ports.get(name) != port:
                yield f"{each.owner}: the port {name} is {each.ports.get(name)}, and Serve listens on {port}"


def replicas_fit_workers(everything: list[Manifest]) -> Iterator[str]:
    """One replica fits a worker, and as many workers may be as replicas."""
    (group,) = ray_service(everything)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    (application,) = serve_config(everything)["applications"]
    (deployment,) = application["deployments"]
    scaling = deployment.get("autoscaling_config", {})
    least = scaling.get("min_replicas", deployment.get("num_replicas"))
    most = scaling.get("max_replicas", deployment.get("num_replicas"))
    if (least, most) != (group["minReplicas"], group["maxReplicas"]):
        yield f"{least} to {most} replicas, {group['minReplicas']} to {group['maxReplicas']} workers"
    actor, params = deployment["ray_actor_options"], group["rayStartParams"]
    for kind in ("cpus", "gpus"):
        offered = int(params.get(f"num-{kind}", 0))
        if actor.get(f"num_{kind}", 0) > offered:
            yield f"a replica wants {actor[f'num_{kind}']} {kind}, and a worker has {offered}: it would never be placed"
        elif 0 < actor.get(f"num_{kind}", 0) * 2 <= offered:
            yield f"several replicas fit into the {offered} {kind} of a worker"
    (container,) = group["template"]["spec"]["containers"]
    if application["args"]["threads"] > cores(container["resources"]["limits"]["cpu"]):
        yield f"{application['args']['threads']} threads in {container['resources']['limits']['cpu']} CPUs"
    if actor.get("num_gpus", 0) != int(container["resources"]["limits"].get("nvidia.com/gpu", 0)):
        yield "a worker's GPUs are not those of its replica"


def shared_memory_holds_the_store(everything: list[Manifest]) -> Iterator[str]:
    """Ray's object store fits /dev/shm; one that does not would lie in /tmp, slowly."""
    for each in pods(everything):
        store = int(each.group["rayStartParams"]["object-store-memory"])
        (mount,) = [mount for mount in each.containers[0]["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
        (volume,) = [volume for volume in each.template["spec"]["volumes"] if volume["name"] == mount["name"]]
        size = int(volume["emptyDir"]["sizeLimit"].removesuffix("Mi")) << 20
        if volume["emptyDir"]["medium"] != "Memory" or store > size:
            yield f"{each.owner}: an object store of {store} bytes in a /dev/shm of {size}"


def cores(quantity: str | int) -> float:
    """A quantity of CPU as a number: 1500m is 1.5."""
    text = str(quantity)
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)


def time_is_left_for_answers(everything: list[Manifest], request_timeout: float) -> Iterator[str]:
    """Whatever ends waits for the slowest request that may be in flight."""
    service = ray_service(everything)
    if service["spec"]["rayClusterDeletionDelaySeconds"] < request_timeout:
        yield f"the old cluster of an upgrade is deleted before {request_timeout} s have passed"
    for each in pods(everything):
        if each.labels.get("ray.io/node-type") != "worker":
            continue
        (container,) = each.containers
        slept = int(re.search(r"sleep (\d+)", container["lifecycle"]["preStop"]["exec"]["command"][-1])[1])  # type: ignore[index]
        grace = each.template["spec"].get("terminationGracePeriodSeconds", 30)
        if not request_timeout < slept < grace:
            yield f"{each.owner}: a request takes {request_timeout} s, the hook {slept} s, the grace period is {grace} s"
    for ingress in of_kind(everything, "Ingress"):
        timeout = float(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"])
        if timeout <= request_timeout:
            yield f"Ingress {ingress['metadata']['name']}: it gives up after {timeout} s, before the server does"


def one_namespace(everything: list[Manifest]) -> Iterator[str]:
    for each in everything:
        if each["kind"] != "Namespace" and each["metadata"].get("namespace") != "dqbart":
            yield f"{each['kind']} {each['metadata']['name']}: not in the namespace dqbart"


def head_and_workers_agree(everything: list[Manifest]) -> Iterator[str]:
    """Ray reads its environment in every process, and must read the same."""
    environments: list[Any] = [each.containers[0].get("env") for each in pods(everything)]
    if any(environment != environments[0] for environment in environments):
        yield "the environments of head and workers differ"


def _probes(each: Pods) -> Iterator[Manifest]:
    for container in each.containers:
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            if kind in container:
                yield container[kind]


EVERYWHERE: tuple[Check, ...] = (
    *(selectors_select, ports_exist, volumes_exist, pods_are_restricted, one_namespace),
    *(kuberays_labels_are_left_alone, budgets_are_sane, backends_exist, scraped_ports_are_open),
)
OF_SERVING: tuple[Check, ...] = (
    *(ports_of_serve_are_open, replicas_fit_workers),
    *(head_and_workers_agree, shared_memory_holds_the_store),
)
