"""What the checks look at: every values file rendered, and everything at once; and how they are listed."""

import tools

# Values files; the empty name is the defaults.
FILES = ["", "values-dev.yaml", "values-staging.yaml", "values-prod.yaml"]
# Every switch that no values file turns on, at once.
EVERYTHING = {
    "allowFaults": True,
    "slots": {
        name: {"live": "b", "selector": "wide", "b": {"enabled": True, "image": "registry.example/shop@sha256:" + "0" * 64}}
        for name in ("gateway", "user", "product", "order", "payment", "notification")
    },
    "autoscaling": {"enabled": True, "external": True},
    "metrics": {"enabled": True, "tlsSecret": "metrics-tls", "caBundle": "Q0E="},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "rules": {"enabled": True},
        "prometheusAdapter": {"enabled": True},
    },
    "smtp": {"host": "mail.example.com", "user": "shop", "existingSecret": "smtp"},
    "telemetry": {"otlp": {"url": "http://collector:4318", "to": [{"podSelector": {"matchLabels": {"app": "collector"}}}]}},
    "ingress": {"enabled": True, "className": "alb", "aws": {"enabled": True}},
    "secrets": {"revision": "2"},
    "image": {"pullSecrets": ["registry"]},
    "scheduling": {"nodeSelector": {"pool": "shop"}, "priorityClassName": "shop"},
    "services": {
        "product": {
            "extraArgs": ["--log-level=debug"],
            "extraEnv": [{"name": "CACHE", "value": "redis"}],
            "extraEgress": [{"to": [{"podSelector": {"matchLabels": {"app": "redis"}}}], "ports": [{"port": 6379}]}],
        }
    },
}

CHECKS = []


def check(function):
    """Makes a function a check; its name is the sentence that it holds the chart to."""
    CHECKS.append(function)
    return function


def renderings(**more):
    """Every values file and everything at once, each as (what it is called, its objects)."""
    for file in FILES:
        yield file or "the defaults", tools.render(file=file, **more)
    yield "everything at once", tools.render(values=EVERYTHING, **more)


def of_kind(objects, *kinds):
    return [one for one in objects if one["kind"] in kinds]


def called(object_):
    return f"{object_['kind']} {object_['metadata']['name']}"


def pods(objects):
    """Every pod that comes of the objects: (its owner, its labels, its spec)."""
    for one in objects:
        if one["kind"] in ("Deployment", "StatefulSet", "Job"):
            template = one["spec"]["template"]
            yield one, template["metadata"]["labels"], template["spec"]
        elif one["kind"] == "Pod":
            yield one, one["metadata"]["labels"], one["spec"]


def matches(selector, labels):
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def with_values():
    for file in FILES:
        yield file or "the defaults", tools.values(file=file), tools.render(file=file)
    yield "everything at once", tools.values(values=EVERYTHING), tools.render(values=EVERYTHING)
