"""The programs that the checks use, and what they make of the chart."""

import copy
import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "charts" / "shop"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "shopctl-lab"
LAB = pathlib.Path(os.environ.get("SHOPCTL_LAB_CACHE") or CACHE) / "bin"
NAMESPACE = "shop-test"
SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="shop-chart-"))

# Helm reads YAML as Kubernetes does, and Python's standard library reads none: a chart that tells what it read in JSON.
READER = """{{- range $path, $_ := .Files.Glob "read/*" }}
{{ $.Files.Get $path | fromYaml | toJson }}
---
{{- end }}
"""


class Skipped(Exception):
    """What the check needs is not here, and was said not to be needed."""


def tidy_up():
    shutil.rmtree(SCRATCH, ignore_errors=True)


def run(command):
    return subprocess.run(command, capture_output=True, text=True)


def find(variable, *names):
    """The program that the variable names, or the first of the names in the lab's cache, in target/, or on the path."""
    told = os.environ.get(variable)
    if told == "skip":
        raise Skipped(f"{variable}=skip")
    if told:
        return told
    for name in names:
        # The lab keeps its programs under their name and what they were built from.
        cached = sorted(LAB.glob(f"{name}-{'[0-9a-f]' * 16}"), key=lambda file: file.stat().st_mtime, reverse=True)
        built = [ROOT / "target" / profile / name for profile in ("release", "profiling", "debug")]
        for file in [*cached, *built]:
            if file.is_file() and os.access(file, os.X_OK):
                return str(file)
        if shutil.which(name):
            return shutil.which(name)
    raise RuntimeError(f"there is no {names[0]}: name one with {variable}, or say {variable}=skip")


@functools.cache
def helms():
    found = []
    for variable, names in (("HELM3", ("helm", "helm3")), ("HELM4", ("helm4",))):
        try:
            found.append(find(variable, *names))
        except Skipped:
            continue
    if not found:
        raise Skipped("no helm")
    return found


def kubeconform():
    return find("KUBECONFORM", "kubeconform")


def shopd():
    return find("SHOPD_BIN", "shopd")


@functools.cache
def manifest():
    """What `shopd describe` tells of each service, and the gateway, which calls all that have routes."""
    told = run([shopd(), "describe", "-o", "json"])
    services = {one["name"]: one for one in json.loads(told.stdout)["services"]}
    called = [name for name, one in services.items() if one["routes"]]
    return {"gateway": {"name": "gateway", "port": 8080, "needs": called}, **services}


def file_arguments(file):
    return ["--values", str(CHART / file)] if file else []


def value_arguments(values):
    if not values:
        return []
    text = json.dumps(values, sort_keys=True)
    path = SCRATCH / f"values-{abs(hash(text))}.yaml"
    path.write_text(text)
    return ["--values", str(path)]


def template(helm, file="", values=None):
    # A helm that was built with `go install` takes itself for one of Kubernetes 1.20.
    arguments = [helm, "template", "shop", str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.34.0"]
    return run([*arguments, *file_arguments(file), *value_arguments(values)])


def render_said(words):
    """The objects that come out with these words of a command line."""
    arguments = [helms()[0], "template", "shop", str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.34.0"]
    told = run([*arguments, *words])
    if told.returncode != 0:
        raise AssertionError(f"helm template {words}: {told.stderr.strip()}")
    return read_yaml(told.stdout.split("\n---\n"))


def render_secrets_beside(server, helm):
    """The Secrets as helm makes them when it may look into a cluster. Helm 4 wants to know every kind that it renders
    there, so it is given the templates of the Secrets alone."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=SCRATCH)) / "shop"
    shutil.copytree(CHART, folder)
    for file in (folder / "templates").glob("*"):
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name not in ("_helpers.tpl", "secrets.yaml"):
            file.unlink()
    arguments = [helm, "template", "shop", str(folder), "--namespace", NAMESPACE, "--kube-version", "1.34.0"]
    told = run([*arguments, "--dry-run=server", "--disable-openapi-validation", "--kube-apiserver", server])
    if told.returncode != 0:
        raise AssertionError(f"helm template --dry-run=server: {told.stderr.strip()}")
    return read_yaml(told.stdout.split("\n---\n"))


def notes(file="", values=None):
    """What an install says at its end. Helm tells it beside a cluster only, so here it is an object's text."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=SCRATCH)) / "shop"
    shutil.copytree(CHART, folder)
    text = (folder / "templates" / "NOTES.txt").read_text()
    wrapped = f'{{{{ define "notes" }}}}{text}{{{{ end }}}}\nkind: Notes\ntext: {{{{ include "notes" . | toJson }}}}\n'
    (folder / "templates" / "notes.yaml").write_text(wrapped)
    arguments = ["--namespace", NAMESPACE, "--kube-version", "1.34.0", "--show-only", "templates/notes.yaml"]
    told = run([helms()[0], "template", "shop", str(folder), *arguments, *file_arguments(file), *value_arguments(values)])
    if told.returncode != 0:
        raise AssertionError(f"NOTES.txt: {told.stderr.strip()}")
    (found,) = read_yaml([told.stdout])
    return found["text"]


def render(file="", values=None, helm=None):
    """The objects that come out, in their order."""
    return copy.deepcopy(rendered(file, json.dumps(values, sort_keys=True), helm or helms()[0]))


@functools.cache
def rendered(file, values, helm):
    told = template(helm, file, json.loads(values))
    if told.returncode != 0:
        raise AssertionError(f"helm template {file}: {told.stderr.strip()}")
    return read_yaml(told.stdout.split("\n---\n"))


def read_yaml(documents):
    """The documents as helm reads them; those without an object in them are left out."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=SCRATCH))
    (folder / "read").mkdir()
    (folder / "templates").mkdir()
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: reader\nversion: 0.0.0\n")
    (folder / "templates" / "read.txt").write_text("")
    (folder / "templates" / "read.yaml").write_text(READER)
    for number, document in enumerate(documents):
        (folder / "read" / f"{number:05}").write_text(document.removeprefix("---\n"))
    told = run([helms()[0], "template", "reader", str(folder), "--skip-schema-validation"])
    if told.returncode != 0:
        raise AssertionError(f"what was rendered is no YAML: {told.stderr.strip()}")
    lines = [line for line in told.stdout.splitlines() if line.startswith("{")]
    objects = [one for one in map(json.loads, lines) if one]
    for one in objects:
        if "Error" in one:
            raise AssertionError(f"what was rendered is no YAML: {one['Error']}")
    return objects


@functools.cache
def defaults():
    (values,) = read_yaml([(CHART / "values.yaml").read_text()])
    return values


def values(file="", values=None):
    """The values that a rendering has: the defaults, the file, and more."""
    merged = copy.deepcopy(defaults())
    if file:
        (more,) = read_yaml([(CHART / file).read_text()])
        merge(merged, more)
    merge(merged, values or {})
    return merged


def merge(into, more):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def refused(values, word):
    """Holds helm to refusing these values, in words that have `word` in them."""
    for helm in helms():
        told = template(helm, values=values)
        assert told.returncode != 0, f"{helm} took {json.dumps(values)}"
        assert word in told.stderr, f"{helm} refused {json.dumps(values)} without a word of `{word}`: {told.stderr}"


def nested(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


def leaf_paths(values=None, path=()):
    """The paths to every value that is no object, and to every empty object."""
    for key, value in (defaults() if values is None else values).items():
        if isinstance(value, dict) and value:
            yield from leaf_paths(value, (*path, key))
        else:
            yield (*path, key)


def object_paths(values=None, path=()):
    """The paths to every object whose keys are fixed."""
    found = defaults() if values is None else values
    yield path
    for key, value in found.items():
        if isinstance(value, dict) and value:
            yield from object_paths(value, (*path, key))
