"""What the functions' policies allow, from the template as it was deployed, against what the functions were seen to do."""

import json

from emulator import NO_ACTIONS

# What Lambda does in a function's name, with the function's role, and no SDK of the function ever asks for.
BY_LAMBDA = {
    "logs:CreateLogStream": "Lambda writes the function's log",
    "logs:PutLogEvents": "Lambda writes the function's log",
    "xray:PutTelemetryRecords": "Lambda traces the function",
    "xray:PutTraceSegments": "Lambda traces the function",
}
# The same, of one function and one resource.
BY_LAMBDA_ON = {
    ("dispatch", "NowQueue"): "the event source mapping's poller",
    ("dispatch", "BulkQueue"): "the event source mapping's poller",
    ("sweep", "SweepQueue"): "the event source mapping's poller",
    ("enqueue", "OrderDeadLetters"): "where Lambda keeps events that failed",
}
POLLER_ACTIONS = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
# What Lambda asks for in the name of a function in a network; interfaces have no names before they are there.
BY_NETWORK = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
}
# What a run at any hour cannot bring about.
NOT_NOW = {
    ("metrics", "dynamodb:DeleteItem"): "only when an hour that was added up gets a receipt late",
    ("enqueue", "dynamodb:ConditionCheckItem"): "only near the turn of a week, when a key could name two messages",
}


def as_list(value):
    return value if isinstance(value, list) else [value]


def allowed(iam, role_name):
    """(action, resource) of a role's own policies."""
    pairs = set()
    for name in iam.list_role_policies(RoleName=role_name)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role_name, PolicyName=name)["PolicyDocument"]
        document = json.loads(document) if isinstance(document, str) else document
        for statement in document["Statement"]:
            assert statement["Effect"] == "Allow", statement
            for action in as_list(statement["Action"]):
                if action in NO_ACTIONS:
                    continue
                assert "*" not in action, f"{role_name}: {action}"
                for resource in as_list(statement["Resource"]):
                    is_nameless = action.startswith("xray:") or action in BY_NETWORK
                    assert resource != "*" or is_nameless, f"{role_name}: {action} on everything"
                    # A statement for secrets of two stores: each store's action means its own resources.
                    if resource == "*" or resource.split(":")[2] == action.split(":")[0]:
                        pairs.add((action, resource))
    return pairs


def name_of(physical):
    """A resource's name from what stands for it: a name, an ARN or a queue's URL."""
    return physical.rsplit("/", 1)[-1] if physical.startswith("http") else resource_of(physical)


# The kinds of resources that functions call.
KINDS = {"AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::SecretsManager::Secret"}


def resource_of(arn):
    """The last part of a name: a table's, a queue's, a secret's, a parameter's."""
    service = arn.split(":")[2] if arn.startswith("arn:") else ""
    if service in ("secretsmanager", "ssm"):
        return arn.split(":", 5)[5].split(":", 1)[-1].removeprefix("parameter")
    return arn.rsplit("/", 1)[-1] if service == "dynamodb" else arn.rsplit(":", 1)[-1]


def is_by_lambda(function, action, logical):
    if action in BY_LAMBDA:
        return BY_LAMBDA[action]
    if function == "tokens" and action in BY_NETWORK:
        return "Lambda puts the function into its network"
    if (function, logical) not in BY_LAMBDA_ON:
        return None
    is_keeping = function == "enqueue" and action == "sqs:SendMessage"
    return BY_LAMBDA_ON[function, logical] if is_keeping or action in POLLER_ACTIONS else None


def schedules(pairs, targets):
    """Problems where the role of schedules may do more than invoke their targets and keep what failed, or may not do that."""
    wanted = {("lambda:InvokeFunction", target["Arn"]) for target in targets}
    wanted |= {("sqs:SendMessage", target["DeadLetterConfig"]["Arn"]) for target in targets if "DeadLetterConfig" in target}
    problems = [f"a schedule's role may not {action} on {arn}" for action, arn in sorted(wanted - pairs)]
    return problems + [f"a schedule's role may {action} on {arn}, which none needs" for action, arn in sorted(pairs - wanted)]


def compare(function, pairs, calls, logical_of):
    """Problems, and the allowed actions that were not seen, each with its reason."""
    seen = {(action, resource_of(resource)) for (action, resource) in calls}
    may = {(action, resource_of(arn)) for action, arn in pairs}
    problems = [f"{function} did {action} on {resource}, which its policy does not allow" for action, resource in sorted(seen - may)]
    unseen = []
    for action, resource in sorted(may - seen):
        reason = is_by_lambda(function, action, logical_of.get(resource)) or NOT_NOW.get((function, action))
        if reason:
            unseen.append((action, logical_of.get(resource, resource), reason))
        else:
            problems.append(f"{function} may {action} on {logical_of.get(resource, resource)} and never did")
    return problems, unseen
