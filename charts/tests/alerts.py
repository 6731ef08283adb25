"""The alerts on made-up figures, with Prometheus's own tool: a shop that is well, and one bad day for each alert."""

import json
import pathlib
import tempfile

import tools

# What each bad day looks like: the series that differ from a shop that is well.
BAD_DAYS = {
    "ShopFailsRequests": {'http_requests_total{job="gateway",route="/v1/orders",status="503"}': "0+300x90"},
    "ShopIsSlow": {'http_request_duration_seconds_bucket{job="gateway",le="0.2"}': "0+10x90"},
    "ShopServiceHasNoPods": {'up{job="order"}': "0x90"},
    "ShopSagaIsStuck": {'saga_stuck{job="order"}': "1x90"},
    "ShopHasDeadLetters": {'dlq_depth{job="order",queue="notification"}': "3x90"},
    "ShopOutboxLags": {'outbox_lag_seconds{job="order",service="order"}': "300x90"},
    "ShopBreakerIsOpen": {'breaker_state{job="payment",breaker="authorize"}': "2x90"},
}


def well(services):
    return {f'up{{job="{name}"}}': "1x90" for name in services} | {
        'http_requests_total{job="gateway",route="/v1/orders",status="200"}': "0+6000x90",
        'http_requests_total{job="gateway",route="/v1/orders",status="503"}': "0+0x90",
        'http_request_duration_seconds_bucket{job="gateway",le="0.2"}': "0+6000x90",
        'http_request_duration_seconds_bucket{job="gateway",le="1"}': "0+6000x90",
        'http_request_duration_seconds_bucket{job="gateway",le="+Inf"}': "0+6000x90",
        'saga_stuck{job="order"}': "0x90",
        'dlq_depth{job="order",queue="notification"}': "0x90",
        'outbox_lag_seconds{job="order",service="order"}': "0x90",
        'breaker_state{job="payment",breaker="authorize"}': "0x90",
    }


def hold(promtool, spec, namespace, services):
    """Holds each alert to its bad day, and all of them to silence on the others."""
    names = {rule["alert"] for group in spec["groups"] for rule in group["rules"] if "alert" in rule}
    assert names == set(BAD_DAYS), f"alerts {names}, bad days {set(BAD_DAYS)}"
    rules_by_name = {rule["alert"]: rule for group in spec["groups"] for rule in group["rules"] if "alert" in rule}
    with tempfile.TemporaryDirectory(dir=tools.SCRATCH) as folder:
        rules, tests = pathlib.Path(folder) / "rules.yaml", pathlib.Path(folder) / "tests.yaml"
        rules.write_text(json.dumps(spec))
        checked = tools.run([promtool, "check", "rules", str(rules)])
        assert checked.returncode == 0, checked.stdout + checked.stderr
        days = [day(None, well(services), names, namespace, rules_by_name)]
        days += [day(bad, well(services) | series, names, namespace, rules_by_name) for bad, series in BAD_DAYS.items()]
        # A service without a pod is not scraped at all, which is another way to be silent.
        unseen = {name: values for name, values in well(services).items() if name != 'up{job="order"}'}
        days.append(day("ShopServiceHasNoPods", unseen, names, namespace, rules_by_name))
        tests.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "15s", "tests": days}))
        tested = tools.run([promtool, "test", "rules", str(tests)])
        assert tested.returncode == 0, tested.stdout + tested.stderr


def day(bad, series, names, namespace, rules):
    """A test of promtool's: after an hour and a quarter, the alert of this day is the only one that fires."""
    inputs = [
        {"series": name.replace("{", f'{{namespace="{namespace}",', 1), "values": values} for name, values in series.items()
    ]
    expected = []
    for name in sorted(names):
        firing = [fired(name, rules[name])] if name == bad else []
        expected.append({"eval_time": "75m", "alertname": name, "exp_alerts": firing})
    return {"name": bad or "a shop that is well", "interval": "1m", "input_series": inputs, "alert_rule_test": expected}


def fired(name, rule):
    of = {
        "ShopServiceHasNoPods": {"job": "order"},
        "ShopHasDeadLetters": {"queue": "notification"},
        "ShopOutboxLags": {"service": "order"},
        "ShopBreakerIsOpen": {"breaker": "authorize"},
    }.get(name, {})
    labels = dict(rule["labels"], **of)
    annotations = {key: text for key, text in rule["annotations"].items()}
    for label, value in of.items():
        annotations = {key: text.replace(f"{{{{ $labels.{label} }}}}", value) for key, text in annotations.items()}
    if name == "ShopServiceHasNoPods":
        labels["namespace"] = tools.NAMESPACE
        annotations["summary"] = "No pod of order answers"
    return {"exp_labels": labels, "exp_annotations": annotations}
