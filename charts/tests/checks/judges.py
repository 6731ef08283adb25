"""What others say of the chart: helm, Kubernetes' own schemas, checkov, Prometheus; and whether its words are true."""

import itertools
import json
import subprocess
import sys

import alerts
import schemas
import tools
from renderings import EVERYTHING, FILES, called, check, of_kind, renderings
from tools import CHART, ROOT


@check
def helm_finds_nothing_to_complain_about():
    for helm, file in itertools.product(tools.helms(), FILES):
        run = tools.run([helm, "lint", "--strict", str(CHART), *tools.file_arguments(file)])
        assert run.returncode == 0, f"{helm} lint {file}: {run.stdout}{run.stderr}"


@check
def helm_3_and_helm_4_make_the_same_of_it():
    if len(tools.helms()) < 2:
        raise tools.Skipped("only one helm is here")
    for (name, first), (_, second) in zip(renderings(helm=tools.helms()[0]), renderings(helm=tools.helms()[1])):
        differing = [called(a) for a, b in zip(strip(first), strip(second)) if a != b]
        assert not differing and len(first) == len(second), f"{name}: {differing}"


def strip(objects):
    """Without what is drawn by lot."""
    return [dict(one, data=None) if one["kind"] == "Secret" else one for one in objects]


@check
def the_alerts_fire_when_they_should_and_only_then():
    promtool = tools.find("PROMTOOL", "promtool")
    (rule,) = of_kind(tools.render(values=EVERYTHING), "PrometheusRule")
    alerts.hold(promtool, rule["spec"], tools.NAMESPACE, list(tools.manifest()))


@check
def the_notes_say_how_to_get_in():
    for file in FILES:
        told = tools.notes(file)
        assert "get secret shop-admin" in told and "helm test shop" in told, f"{file}: {told}"
        assert "no value" not in told, f"{file}: {told}"
    assert "port-forward service/gateway" in tools.notes()
    assert "https://shop.example.com/admin" in tools.notes("values-prod.yaml")


@check
def the_upgrades_that_the_readme_shows_lead_from_one_slot_to_the_other():
    text = (CHART / "README.md").read_text().replace("\\\n", " ").replace("$NEW", "registry.example/shop:new")
    steps = [line.split(" #")[0].split() for line in text.splitlines() if line.startswith("helm upgrade shop charts/shop --reuse")]
    assert len(steps) == 4, steps
    said, seen = [], []
    for step in steps:
        said += [word for word in step if word.startswith("--set") or "=" in word]
        objects = tools.render_said(said)
        selector = next(one for one in of_kind(objects, "Service") if one["metadata"]["name"] == "order")["spec"]["selector"]
        pods_wanted = {one["metadata"]["name"]: one["spec"]["replicas"] for one in of_kind(objects, "Deployment")}
        seen.append((selector.get("shopctl.dev/slot", "both"), pods_wanted["order-a"], pods_wanted["order-b"]))
    assert seen == [("a", 2, 2), ("both", 2, 2), ("b", 2, 2), ("b", 0, 2)], seen


@check
def the_readme_is_current():
    run = tools.run([sys.executable, str(ROOT / "scripts" / "chart-readme"), "--check"])
    assert run.returncode == 0, run.stderr


@check
def kubernetes_takes_every_object():
    kubeconform = tools.kubeconform()
    locations = schemas.locations()
    tried = 0
    for version, location in locations.items():
        for name, objects in renderings():
            documents = "\n---\n".join(json.dumps(one) for one in objects)
            arguments = [kubeconform, "-strict", "-summary", "-output", "json", "-kubernetes-version", f"{version}.0"]
            arguments += ["-schema-location", location]
            run = subprocess.run(arguments, input=documents, capture_output=True, text=True)
            told = json.loads(run.stdout or "{}")
            summary = told.get("summary", {})
            wrong = [f"{one['kind']} {one['name']}: {one['msg']}" for one in told.get("resources", [])]
            assert run.returncode == 0 and summary.get("valid") == len(objects), f"{version}, {name}: {wrong}{run.stderr}"
            tried += len(objects)
    print(f"    {tried} objects, Kubernetes {', '.join(locations)}")


@check
def checkov_finds_nothing():
    """With images named by digest, as whoever deploys does; why something need not hold stands in checkov.yaml."""
    checkov = tools.find("CHECKOV", "checkov")
    digests = {"image": {"digest": "sha256:" + "2" * 64}, "postgresql": {"image": {"digest": "sha256:" + "3" * 64}}}
    looked = 0
    for file, more in [*((file, {}) for file in FILES), ("", EVERYTHING)]:
        values = json.loads(json.dumps(more))
        tools.merge(values, digests)
        path = tools.SCRATCH / "checkov.yaml"
        path.write_text(tools.template(tools.helms()[0], file, values).stdout)
        run = tools.run([checkov, "--config-file", str(ROOT / "charts" / "tests" / "checkov.yaml"), "--file", str(path)])
        told = json.loads(run.stdout or "{}")
        for one in told if isinstance(told, list) else [told]:
            found = [f"{failed['check_id']} {failed['resource']}" for failed in one["results"]["failed_checks"]]
            assert not found, f"{file}: {found}"
            looked += one["summary"]["passed"]
    assert looked > 1000, f"checkov looked {looked} times only: {run.stderr}"
    print(f"    {looked} of checkov's checks passed")
