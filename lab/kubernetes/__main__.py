"""The verbs of `scripts/lab kubernetes`. Standard output is data, everything else is said on standard error."""

import argparse
import os
import sys
from pathlib import Path

from . import build, cluster, faults, images, node, packages, status, volumes
from .failure import Failure, talk
from .place import Place, default_folder

EPILOG = """COMPONENT is etcd, apiserver, controller-manager or scheduler, or with a NODE: containerd, kubelet, kube-proxy, or
machine for the node as a whole. NODE is node-a, node-b … or just its letter. docs/guides/lab.md has the whole story."""


def main() -> int:
    asked = words().parse_args()
    try:
        asked.run(asked)
        return 0
    except Failure as failure:
        failure.tell()
        return 1
    except OSError as failed:
        Failure(f"could not {sys.argv[1]}: {failed}", hint="scripts/lab kubernetes status").tell()
        return 1
    except KeyboardInterrupt:
        talk("interrupted; `scripts/lab kubernetes down` takes away what there is")
        return 130


def words() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/lab kubernetes", epilog=EPILOG,
                                     description="A real Kubernetes on this machine, for the tests.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, run, help: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=help, description=help)
        made.add_argument("--dir", type=lambda text: Path(text).resolve(), default=default_folder(),
                          help="the lab's folder (default: $SHOPCTL_LAB_DIR, else /var/lib/shopctl-lab)")
        made.set_defaults(run=run)
        return made

    verb("build", build_all, "build the programs and images that are missing in the cache; prints where they are")
    verb("up", up, "start the lab; prints the path for KUBECONFIG").add_argument(
        "--nodes", type=int, help="how many (default: 3)")
    verb("down", lambda asked: cluster.down(asked.dir), "take away all that up made, wherever it ended")
    verb("status", show, "what runs, is ready, and its memory").add_argument(
        "-o", "--output", choices=["table", "json"], default="table")
    verb("env", environment, "print the lines that make kubectl and helm of this shell those of the lab")
    verb("load", load, "import image archives into every node").add_argument("files", nargs="+", type=Path)
    verb("recycle", lambda asked: volumes.recycle(there(asked)), "empty the disks whose claim is gone")
    for name, run, help in (
        ("partition", lambda asked: faults.partition(there(asked), asked.whom), "cut a node off, or a pod"),
        ("heal", lambda asked: faults.heal(there(asked), asked.whom), "undo partition"),
    ):
        verb(name, run, help).add_argument("whom", metavar="NODE|NAMESPACE/POD")
    for name, action, help in (("kill", faults.kill, "end a component at once; nobody starts it again"),
                               ("start", faults.start, "undo kill"),
                               ("restart", faults.restart, "stop a component, start it, wait until it is ready")):
        made = verb(name, lambda asked, action=action: action(there(asked), asked.component, asked.node), help)
        made.add_argument("component")
        made.add_argument("node", nargs="?")
    enter = verb("enter", step_inside, "run a command on a node, as on a machine that one has signed in to")
    enter.add_argument("node")
    enter.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def there(asked: argparse.Namespace) -> Place:
    place = Place.read(asked.dir)
    if place is None:
        raise Failure(f"there is no lab in {asked.dir}", hint="scripts/lab kubernetes up")
    return place


def build_all(asked: argparse.Namespace) -> None:
    packages.install()
    for path in (*build.programs().values(), *images.archives().values(), images.stock()):
        print(path)
    build.forget_unused()


def up(asked: argparse.Namespace) -> None:
    try:
        print(cluster.up(asked.dir, asked.nodes).kubeconfig)
    except Failure as failure:
        # What there is stays for whoever looks into it.
        failure.hint = failure.hint or f"`scripts/lab kubernetes down` takes away what there is in {asked.dir}"
        raise


def show(asked: argparse.Namespace) -> None:
    status.show(Place.read(asked.dir), asked.output == "json")


def environment(asked: argparse.Namespace) -> None:
    place = there(asked)
    print(f'export KUBECONFIG="{place.kubeconfig}" PATH="{place.bin}:$PATH"')


def load(asked: argparse.Namespace) -> None:
    images.load(there(asked), asked.files)


def step_inside(asked: argparse.Namespace) -> None:
    command = [*node.enter(faults.find_node(there(asked), asked.node)), *(asked.command or ["sh"])]
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
