"""Schemas for kubeconform, made from what is inside the Go modules: the OpenAPI document of each Kubernetes version, and
the custom resources of the operators that the chart has objects for. Strict: what a schema does not name is refused."""

import json
import pathlib
import subprocess
import tempfile

import tools

KUBERNETES = {"1.33": "v1.33.13", "1.34": "v1.34.4", "1.35": "v1.35.4", "1.36": "v1.36.3"}
OPERATORS = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": [
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
    "github.com/external-secrets/external-secrets@v1.3.2": [
        "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    ],
}
CACHE = tools.ROOT / "target" / "chart-schemas"
# These stand for more than their type says.
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


def locations():
    """For each Kubernetes version, where kubeconform finds its schemas."""
    found = {}
    for version, release in KUBERNETES.items():
        folder = CACHE / release
        if not (folder / "complete").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_kubernetes(module(f"k8s.io/kubernetes@{release}") / "api/openapi-spec/swagger.json", folder)
            for operator, files in OPERATORS.items():
                for file in files:
                    write_custom(module(operator) / file, folder)
            (folder / "complete").touch()
        found[version] = f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    return found


def module(name):
    """The folder of a Go module, in the module cache of this machine."""
    with tempfile.TemporaryDirectory() as nowhere:
        told = subprocess.run(["go", "mod", "download", "-json", name], cwd=nowhere, capture_output=True, text=True)
    answer = json.loads(told.stdout or "{}")
    if told.returncode != 0 or not answer.get("Dir"):
        raise tools.Skipped(f"the Go module {name} cannot be had: {answer.get('Error', told.stderr).strip()}")
    return pathlib.Path(answer["Dir"])


def file_name(kind, group, version):
    """As kubeconform asks for it."""
    parts = [kind.lower(), *([group.split(".")[0]] if group else []), version.lower()]
    return "-".join(parts) + ".json"


def write_kubernetes(swagger, folder):
    definitions = {name: strict(one) for name, one in json.loads(swagger.read_text())["definitions"].items()}
    definitions[INT_OR_STRING] = {"type": ["string", "integer"]}
    definitions[QUANTITY] = {"type": ["string", "number"]}
    for name, definition in definitions.items():
        for named in definition.get("x-kubernetes-group-version-kind", []):
            schema = {"$ref": f"#/definitions/{name}", "definitions": reachable(name, definitions)}
            path = folder / file_name(named["kind"], named["group"], named["version"])
            path.write_text(json.dumps(schema))


def reachable(name, definitions):
    """The definitions that a definition needs, itself among them."""
    found, waiting = {}, [name]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = definitions[name]
            waiting += [reference.removeprefix("#/definitions/") for reference in references(definitions[name])]
    return found


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def strict(node):
    """The same schema, in which an object has no other properties than those it names."""
    if isinstance(node, list):
        return [strict(value) for value in node]
    if not isinstance(node, dict):
        return node
    made = {key: strict(value) for key, value in node.items()}
    is_open = made.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in made
    if isinstance(made.get("properties"), dict) and not is_open:
        made["additionalProperties"] = False
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made.pop("anyOf", None)
        made["type"] = ["string", "integer"]
    return made


def write_custom(file, folder):
    """The schemas of a CustomResourceDefinition."""
    (resource,) = tools.read_yaml([file.read_text()])
    spec = resource["spec"]
    for version in spec["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        name = file_name(spec["names"]["kind"], spec["group"], version["name"])
        (folder / name).write_text(json.dumps(schema))
