"""What goes in: secrets, settings, the command lines that come of them, and the values that are refused."""

import base64
import json
import os
import pathlib
import subprocess
import tempfile

import cluster
import tools
import world
from renderings import called, check, of_kind, pods, renderings
from tools import CHART


@check
def no_secret_stands_anywhere_but_in_a_secret():
    objects = tools.render()
    secrets = of_kind(objects, "Secret")
    assert {one["metadata"]["name"] for one in secrets} == {"shop-secrets", "shop-admin", "shop-database"}
    words = set()
    for one in secrets:
        for text in one["data"].values():
            plain = base64.b64decode(text).decode()
            if plain.startswith("{"):
                made = json.loads(plain)
                words |= {made[key] for key in made if key != "internal_keys"} | {key for _, key in made["internal_keys"]}
            else:
                words.add(plain)
    assert len(words) == 9 and all(len(word) >= 24 for word in words)
    rest = json.dumps([one for one in objects if one["kind"] != "Secret"])
    assert not [word for word in words if word in rest]


@check
def the_secrets_that_are_made_are_those_that_the_shop_reads():
    shopd = tools.shopd()
    made = next(one for one in of_kind(tools.render(), "Secret") if one["metadata"]["name"] == "shop-secrets")
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "secrets.json"
        file.write_bytes(base64.b64decode(made["data"]["secrets.json"]))
        before = file.read_bytes()
        arguments = ["serve", "user", "--secrets-file", str(file), "--data-dir", f"{folder}/data", "--listen", "127.0.0.1:0"]
        with subprocess.Popen([shopd, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            told = process.stdout.readline()
            process.terminate()
            _, talk = process.communicate()
        assert json.loads(told or "{}").get("event") == "ready", f"{told}{talk}"
        assert file.read_bytes() == before


@check
def secrets_that_are_in_the_cluster_are_kept():
    def made(objects):
        return {one["metadata"]["name"]: one for one in of_kind(objects, "Secret")}

    for helm in tools.helms():
        with cluster.holding({}) as server:
            first = made(tools.render_secrets_beside(server, helm))
        with cluster.holding(first) as server:
            second = made(tools.render_secrets_beside(server, helm))
        assert len(first) == 3 and second == first, f"{helm} makes new ones in an upgrade"
        assert made(tools.rendered.__wrapped__("", "null", helm)) != first, "without a cluster they are drawn by lot"
        assert all(one["immutable"] for one in first.values()), "so that nobody writes others over them"
        assert all(one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for one in first.values())


@check
def secrets_of_ones_own_are_taken_instead():
    own = {
        "secrets": {"existingSecret": "mine", "existingAdminSecret": "my-admin"},
        "database": {"existingSecret": "my-database"},
    }
    objects = tools.render(values=own)
    assert not of_kind(objects, "Secret")
    used = {
        volume["secret"]["secretName"] for _, _, spec in pods(objects) for volume in spec.get("volumes", []) if "secret" in volume
    }
    assert used == {"mine", "my-admin", "my-database"}, used
    outside = tools.render(values={"externalSecrets": {"enabled": True}})
    assert not of_kind(outside, "Secret") and len(of_kind(outside, "ExternalSecret")) == 3


@check
def a_database_of_ones_own_is_reached_with_tls_that_is_verified():
    objects = tools.render(file="values-prod.yaml")
    assert not [one for one in objects if one["metadata"]["name"] == "postgresql"]
    config = next(one for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] == "order-a")["data"]
    assert "sslmode=verify-full&sslrootcert=/run/shop/database-ca/ca.crt" in config["SHOPCTL_DATABASE_URL"]
    tools.refused({"database": {"external": {"host": "db", "cidrs": ["10.0.0.0/8"]}}}, "database.existingSecret")
    tools.refused({"database": {"existingSecret": "x", "external": {"host": "db"}}}, "database.external.cidrs")
    tools.refused({"database": {"external": {"sslmode": "prefer"}}}, "sslmode")


@check
def an_authority_without_a_certificate_is_refused():
    tools.refused({"metrics": {"enabled": True, "caBundle": "Q0E="}}, "metrics.tlsSecret")


@check
def pods_start_again_when_their_settings_change_and_only_then():
    def templates(**values):
        found = {}
        for one in of_kind(tools.render(values=values), "Deployment"):
            found[one["metadata"]["name"]] = json.dumps(one["spec"]["template"], sort_keys=True)
        return found

    before = templates()
    assert templates() == before, "new secrets are no new settings"
    changed = templates(smtp={"host": "mail.example.com"})
    assert {name for name in before if before[name] != changed[name]} == {"notification-a"}
    revision = templates(secrets={"revision": "2"})
    assert all(before[name] != revision[name] for name in before)


@check
def tables_are_prepared_once_for_each_image():
    def job(**values):
        (found,) = of_kind(tools.render(values=values), "Job")
        return found

    first = job()
    assert "annotations" not in first["metadata"], "it is no hook"
    assert job()["metadata"]["name"] == first["metadata"]["name"]
    assert job(services={"order": {"replicas": 5}}) == first
    for more in ({"image": {"tag": "2"}}, {"prepare": {"image": "x:2"}}, {"prepare": {"demoData": False}}):
        assert job(**more)["metadata"]["name"] != first["metadata"]["name"], more
    for _, objects in renderings():
        for one in of_kind(objects, "ConfigMap"):
            if "SHOPD_MIGRATE" in one.get("data", {}):
                assert one["data"]["SHOPD_MIGRATE"] == "never", called(one)


@check
def shopd_understands_every_word_that_it_is_told():
    """Each pod's command line and environment, in a world where nobody answers: it gets as far as to notice that."""
    shopd = tools.shopd()
    helps = {verb: tools.run([shopd, verb, "--help"]).stdout for verb in ("serve", "prepare", "buy")}
    for name, objects in renderings():
        configs = {one["metadata"]["name"]: one["data"] for one in of_kind(objects, "ConfigMap")}
        for owner, _, spec in pods(objects):
            container = spec["containers"][0]
            if container["name"] != "shopd":
                continue
            environment = {"PATH": os.environ["PATH"]}
            for source in container.get("envFrom", []):
                environment |= configs[source["configMapRef"]["name"]]
            environment |= {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}
            where = f"{name}: {called(owner)}"
            unread = [word for word in environment if word.startswith("SHOP") and word not in helps[container["args"][0]]]
            assert not unread, f"{where}: nobody reads {unread}"
            with tempfile.TemporaryDirectory(dir=tools.SCRATCH) as folder:
                code, told = world.start(shopd, container["args"], environment, pathlib.Path(folder))
            needs_nobody = container["args"][:2] in (["serve", "fakepay"], ["serve", "metrics"])
            expected = world.READY if needs_nobody else world.UNREACHABLE
            assert code == expected, f"{where} ended with {code}: {told}"


@check
def unknown_keys_are_refused_at_every_level():
    for path in tools.object_paths():
        tools.refused(tools.nested(path, {"nonsense": 1}), "nonsense")


@check
def values_of_another_type_are_refused():
    for path in tools.leaf_paths():
        tools.refused(tools.nested(path, {"another": {"type": True}}), path[-1])


@check
def the_schema_knows_the_values_and_no_others():
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]) - {"global"} == set(tools.values())
