"""What NetworkPolicies let through, worked out as a network plugin would, for pods of one namespace."""


def chosen(selector, labels):
    """Whether a label selector chooses these labels; an empty one chooses all."""
    wanted = selector.get("matchLabels", {})
    if selector.get("matchExpressions"):
        raise ValueError("expressions are not worked out here: write labels")
    return all(labels.get(key) == value for key, value in wanted.items())


def rules(policies, labels, direction):
    """The rules of this direction that apply to a pod; None when no policy does, and all is let through."""
    applying = [
        policy["spec"]
        for policy in policies
        if chosen(policy["spec"]["podSelector"], labels) and direction in policy["spec"]["policyTypes"]
    ]
    if not applying:
        return None
    return [rule for spec in applying for rule in spec.get(direction.lower()) or []]


def has_port(rule, port):
    return not rule.get("ports") or any(one.get("port") == port and "endPort" not in one for one in rule["ports"])


def has_pod(peers, labels):
    """Whether a pod of the same namespace is among the peers; no peers are everybody."""
    if not peers:
        return True
    near = (peer for peer in peers if "ipBlock" not in peer and "namespaceSelector" not in peer)
    return any(chosen(peer["podSelector"], labels) for peer in near)


def matching(policies, labels, other, port, direction):
    side = {"Egress": "to", "Ingress": "from"}[direction]
    found = rules(policies, labels, direction)
    if found is None:
        return [{}]
    return [rule for rule in found if has_port(rule, port) and has_pod(rule.get(side), other)]


def ways(policies, source, target, port):
    """How many rules let the source out to the target, and how many let it in there."""
    out = matching(policies, source, target, port, "Egress")
    into = matching(policies, target, source, port, "Ingress")
    return len(out), len(into)


def is_open(policies, source, target, port):
    return all(ways(policies, source, target, port))


def leaves(policies, labels, other, port, namespace):
    """Whether a pod may go out to a pod with other labels in another namespace."""
    for rule in rules(policies, labels, "Egress") or []:
        for peer in rule.get("to") or []:
            where = peer.get("namespaceSelector", {}).get("matchLabels", {})
            is_there = where.get("kubernetes.io/metadata.name") == namespace
            if is_there and chosen(peer.get("podSelector", {}), other) and has_port(rule, port):
                return True
    return False


def outside(policies, labels):
    """The ports at which a pod may reach networks, or anybody."""
    return open_ports(rules(policies, labels, "Egress"), "to")


def inside(policies, labels):
    """The ports at which networks, or anybody, may reach a pod."""
    return open_ports(rules(policies, labels, "Ingress"), "from")


def open_ports(found, side):
    if found is None:
        return {"all"}
    wide = (rule for rule in found if not rule.get(side) or any("ipBlock" in peer for peer in rule[side]))
    return {port["port"] for rule in wide for port in rule.get("ports") or [{"port": "all"}]}


def ports(spec):
    return {port["containerPort"] for container in spec["containers"] for port in container.get("ports", [])}
