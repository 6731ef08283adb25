"""Asking the API server directly: what is polled often should not start a kubectl each time."""

import json
import ssl
import urllib.error
import urllib.request

from .place import Place


def ask(place: Place, path: str, method: str = "GET", body: dict | None = None, kind: str = "application/json"):
    """The answer as JSON, or as text where it is none. Raises `urllib.error.HTTPError` on a refusal."""
    folder = place.certificates
    trust = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    trust.load_cert_chain(str(folder / "admin.crt"), str(folder / "admin.key"))
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(place.server + path, data=data, method=method, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, context=trust, timeout=5) as answer:
        text = answer.read().decode()
    return json.loads(text) if text.startswith("{") else text


def obstacle(place: Place, path: str) -> str | None:
    """Why a health address does not answer 200, in words."""
    try:
        ask(place, path)
        return None
    except urllib.error.HTTPError as refused:
        return f"{path} answers {refused.code}"
    except OSError as failed:
        return f"{path}: {getattr(failed, 'reason', failed)}"


def plain_obstacle(url: str) -> str | None:
    """The same for an address that asks for no certificate. Its own certificate vouches for nobody, and is not looked at."""
    trust_nobody = ssl.create_default_context()
    trust_nobody.check_hostname = False
    trust_nobody.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, context=trust_nobody, timeout=2):
            return None
    except urllib.error.HTTPError as refused:
        return f"{url} answers {refused.code}"
    except OSError as failed:
        return f"{url}: {getattr(failed, 'reason', failed)}"


def ready_nodes(place: Place) -> dict[str, bool]:
    return {node["metadata"]["name"]: is_true(node, "Ready") for node in ask(place, "/api/v1/nodes")["items"]}


def is_true(thing: dict, condition: str) -> bool:
    conditions = thing.get("status", {}).get("conditions", [])
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)
