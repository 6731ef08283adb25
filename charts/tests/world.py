"""A pod's process on this machine: its files are there, and nobody whom it calls is."""

import json
import ssl
import subprocess

# How it ended: with the exit code of `unreachable`, or told that it is ready and then ended by us.
UNREACHABLE = 6
READY = "ready"
SECRETS = {
    "internal_keys": [["k1", "a" * 43]],
    "signing_key_encryption": "b" * 43,
    "order_access": "c" * 43,
    "csrf": "d" * 43,
    "provider_api_key": "sk_test_" + "e" * 32,
    "provider_webhook": "whsec_" + "f" * 32,
    "provider_control": "g" * 43,
}


def start(shopd, arguments, environment, folder):
    """Starts it with paths, addresses and hosts moved to this machine, and answers how it ended and what it said."""
    for kind in ("secrets", "database", "admin", "smtp", "database-ca"):
        (folder / "run" / kind).mkdir(parents=True)
    (folder / "run" / "secrets" / "secrets.json").write_text(json.dumps(SECRETS))
    for kind in ("database", "admin", "smtp"):
        (folder / "run" / kind / "password").write_text("p@ss/word")
    if "--tls-key=/run/shop/tls/tls.key" in arguments:
        make_certificate(folder / "run" / "tls")
    authorities = ssl.get_default_verify_paths().cafile
    if authorities:
        (folder / "run" / "database-ca" / "ca.crt").write_text(open(authorities).read())

    def moved(text):
        for here, there in (("/run/shop", f"{folder}/run"), ("/var/lib/shop", f"{folder}/data")):
            text = text.replace(here, there)
        return text

    environment = {key: moved(value) for key, value in environment.items()}
    environment["SHOPD_WAIT_SECONDS"] = "0"
    # Every pod is told where its API server is.
    environment |= {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    if "SHOPCTL_DATABASE_URL" in environment:
        scheme, _, rest = environment["SHOPCTL_DATABASE_URL"].partition("://")
        user, _, rest = rest.partition("@")
        _, _, database = rest.partition("/")
        environment["SHOPCTL_DATABASE_URL"] = f"{scheme}://{user}@127.0.0.1:1/{database}"
    if "SHOPD_METRICS_LISTEN" in environment:
        environment["SHOPD_METRICS_LISTEN"] = "127.0.0.1:0"
    words = []
    for word in arguments:
        if word.startswith("--listen="):
            word = "--listen=127.0.0.1:0"
        if word.startswith("--url="):
            word = "--url=http://127.0.0.1:1"
        words.append(moved(word))
    with subprocess.Popen(
        [shopd, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        told = process.stdout.readline()
        if told:
            process.terminate()
        _, talk = process.communicate()
    return (READY if '"event":"ready"' in told else process.returncode), told + talk


def make_certificate(folder):
    folder.mkdir()
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(folder / "tls.key")]
    told = subprocess.run(
        ["openssl", "req", "-x509", *key, "-out", str(folder / "tls.crt"), "-subj", "/CN=metrics", "-days", "1"],
        capture_output=True,
        text=True,
    )
    if told.returncode != 0:
        raise RuntimeError(f"openssl made no certificate: {told.stderr}")
