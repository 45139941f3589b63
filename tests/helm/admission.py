"""A MutatingAdmissionPolicy as an API server carries it out: its CEL in Google's engine, its patches by RFC 6902."""

import copy
from functools import cache

from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, struct_pb2

TEXT = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
ONE = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL


@cache
def engine():
    """Return the engine with what Kubernetes gives a policy: `object`, `variables`, and the type JSONPatch."""
    patch = descriptor_pb2.FileDescriptorProto(
        name="jsonpatch.proto", syntax="proto3", dependency=[struct_pb2.DESCRIPTOR.name]
    )
    message = patch.message_type.add(name="JSONPatch")
    for number, name in enumerate(("op", "path", "from"), 1):
        message.field.add(name=name, number=number, type=TEXT, label=ONE)
    message.field.add(name="value", number=4, type=MESSAGE, label=ONE, type_name=".google.protobuf.Value")
    pool = descriptor_pool.DescriptorPool()
    for file in (struct_pb2.DESCRIPTOR.serialized_pb, patch.SerializeToString()):
        pool.AddSerializedFile(file)
    anything = {"object": cel.Type.DYN, "variables": cel.Type.DYN}
    return cel.NewEnv(descriptor_pool=pool, variables=anything)


def value(expression, **known):
    """Return what an expression comes to; raises where it does not compile, or fails."""
    known = {"object": {}, "variables": {}, **known}
    found = engine().compile(expression).eval(data=known)
    if found.type() == cel.Type.ERROR:
        raise ValueError(f"{expression}: {found.value()}")
    return found.plain_value()


def matches(policy, pod):
    """Tell whether all conditions of the policy hold for the pod."""
    return all(value(each["expression"], object=pod) is True for each in policy["spec"]["matchConditions"])


def admitted(policy, pod):
    """Return the pod as the API server stores it: each mutation sees what the ones before it made."""
    assert set(policy["spec"]["matchConstraints"]["resourceRules"][0]["resources"]) == {"pods"}
    if not matches(policy, pod):
        return pod
    for mutation in policy["spec"]["mutations"]:
        pod = patched(pod, operations(policy, mutation, pod))
    return pod


def operations(policy, mutation, pod):
    """Return the operations of one mutation, as JSON."""
    variables = {}
    for each in policy["spec"]["variables"]:
        variables[each["name"]] = value(each["expression"], object=pod, variables=variables)
    assert mutation["patchType"] == "JSONPatch"
    found = value(mutation["jsonPatch"]["expression"], object=pod, variables=variables)
    # Kubernetes, too, makes google.protobuf.Value of what it puts into a pod: 1.0 is the integer 1.
    return [_whole(json_format.MessageToDict(each)) for each in found]


def _whole(node):
    if isinstance(node, dict):
        return {key: _whole(each) for key, each in node.items()}
    if isinstance(node, list):
        return [_whole(each) for each in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def patched(document, found):
    """Return the document with these additions (RFC 6902 §4.1); raises where a path leads nowhere."""
    document, found = copy.deepcopy((document, found))
    for each in found:
        assert each["op"] == "add", each
        *above, last = [part.replace("~1", "/").replace("~0", "~") for part in each["path"].split("/")[1:]]
        place = document
        for part in above:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if isinstance(place, list):
            position = len(place) if last == "-" else int(last)
            assert 0 <= position <= len(place), each
            place.insert(position, each["value"])
        else:
            place[last] = each["value"]
    return document
