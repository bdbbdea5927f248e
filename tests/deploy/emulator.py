"""The AWS emulator as a process, and what is deployed to it with boto3, as `sam deploy` would do it: code to S3, then a change set."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse

import http_client

REGION = "us-east-1"
BUCKET = "tidepost-code"
ROOT = Path(__file__).resolve().parents[2]

# What the emulator cannot do, by name, and what is taken from the template for it. Nothing else is left out or changed but the
# place of the code and the parameters.
CANNOT = {
    "AWS::CodeDeploy": "the callback's canary: its alias moves at once; the alarms that would stop it are made",
    "arm64": "functions run as processes of this machine's own architecture",
    "AWS::Scheduler RetryPolicy, FlexibleTimeWindow, ScheduleExpressionTimezone": "not imitated: schedules fire once, "
    "in UTC, up to 10 s late",
    "AWS::Scheduler RoleArn": "no role is asked for: those of schedules are compared with what their targets need",
    "cold starts, memory limits, throttling of accounts": "not imitated",
    "AWS::CloudWatch alarms on EMF metrics": "are made and never go off: log lines do not become metrics",
    "parameters as numbers": "a mapping's maximum concurrency is put in as the parameter's default",
    "function URLs with IAM": "takes WeChat's `signature` for AWS's own: callbacks come in its root user's name",
    "sqs:…Batch": "are taken for actions of their own; here those who may send one may send a batch too, as in AWS",
    "updates": "it ends functions in the middle of an invocation, where AWS lets them finish: harsher, and so it stays",
    "AWS::EC2::EIP, AWS::EC2::NatGateway": "it has no such resources: the fixed address, its gateway and the route to that are "
    "left out, with the output EgressAddress; the rest of the network is made, and tokens calls from this machine as all do",
    "AWS::CloudWatch::Alarm with Metrics": "sums are refused: FunctionErrors, HttpFailures and FunctionThrottles are left out, "
    "and taken off the dashboard's list of alarms",
    "AWS::Logs::MetricFilter": "are made and count nothing",
    "AWS::SNS::Subscription": "Email stays empty: nobody could confirm it",
    "X-Ray": "traces are switched on and go nowhere",
}

# What the emulator's IAM asks for and AWS's does not know.
NO_ACTIONS = {"sqs:ChangeMessageVisibilityBatch", "sqs:DeleteMessageBatch", "sqs:SendMessageBatch"}


def without_what_it_cannot(template):
    resources = template["Resources"]
    del resources["CallbackFunction"]["Properties"]["DeploymentPreference"]
    del template["Outputs"]["EgressAddress"]
    # It hands parameters over as text and then compares the text with a number.
    for name in ("DispatchFunction", "SweepFunction"):
        for event in resources[name]["Properties"]["Events"].values():
            scaling = event["Properties"]["ScalingConfig"]
            scaling["MaximumConcurrency"] = template["Parameters"][scaling["MaximumConcurrency"]["Ref"]]["Default"]
    # In AWS who may send one message may send ten at once; the emulator asks for actions that IAM does not have.
    for resource in resources.values():
        if resource["Type"] == "AWS::IAM::Role":
            for policy in resource["Properties"]["Policies"]:
                for statement in policy["PolicyDocument"]["Statement"]:
                    actions = statement.get("Action", [])
                    actions = actions if isinstance(actions, list) else [actions]
                    batches = [f"{action}Batch" for action in actions if f"{action}Batch" in NO_ACTIONS]
                    statement.update({"Action": actions + batches} if batches else {})
    return template


def without_the_address(template):
    """`infra/egress.yaml`: the network alone."""
    for name in ("EgressAddress", "Nat", "InnerRoute"):
        del template["Resources"][name]
    del template["Outputs"]["Address"]
    return template


def without_sums(template):
    """`infra/watch.yaml`: the alarms on one metric each."""
    resources = template["Resources"]
    sums = [name for name, resource in resources.items() if "Metrics" in resource["Properties"]]
    dashboard = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    for name in sums:
        del resources[name]
        dashboard[0] = dashboard[0].replace(f'"${{{name}.Arn}}",', "")
    return template


# What is taken out of the stacks that `template.yaml` makes within itself.
NESTED = {"infra/egress.yaml": without_the_address}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def unpacked(zipped, folder):
    """The one program of the zip that `cargo lambda build` made, as Lambda would unpack it."""
    with zipfile.ZipFile(zipped) as archive:
        (packed,) = archive.infolist()
        assert packed.filename == "bootstrap" and packed.external_attr >> 16 & 0o111, f"{packed} is nothing that Lambda starts"
        return Path(archive.extract(packed, folder))


def stripped(program):
    """The program without its symbols, where that can be had: they are most of a debug build."""
    strip = shutil.which("strip")
    if strip:
        subprocess.run([strip, program], check=True)
    return program


def package(bootstrap, note):
    """The functions' code as Lambda takes it. `note` makes one version's zip differ from another's."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        program = zipfile.ZipInfo("bootstrap")
        program.external_attr = 0o755 << 16
        program.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(program, bootstrap.read_bytes())
        archive.writestr(zipfile.ZipInfo("note.txt"), note)
    return zipped.getvalue()


class Emulator:
    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self, functions_call):
        """Starts it with IAM enforced; functions call AWS at `functions_call`."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AUTH": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": functions_call,
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": "127.0.0.1",
        }
        log = open(self.folder / "emulator.log", "wb")
        command = Path(sys.executable).parent / "ministack"
        self.process = subprocess.Popen([command], env=environment, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)
        http_client.until("the emulator answers", self.is_ready, 30)

    def is_ready(self):
        assert self.process.poll() is None, f"the emulator ended; see {self.folder / 'emulator.log'}"
        try:
            with http_client.OPENER.open(urllib.request.Request(f"{self.url}/_ministack/health"), timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def client(self, service):
        return client(service, self.url)


def client(service, url):
    return boto3.client(service, endpoint_url=url, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test")


def read(template):
    return yaml_parse((ROOT / template).read_text())


def made(formation, stack):
    """(logical id, type, physical id) of everything in a stack and in the stacks within it."""
    found = []
    for page in formation.get_paginator("list_stack_resources").paginate(StackName=stack):
        for one in page["StackResourceSummaries"]:
            found.append((one["LogicalResourceId"], one["ResourceType"], one["PhysicalResourceId"]))
            if one["ResourceType"] == "AWS::CloudFormation::Stack":
                found += made(formation, one["PhysicalResourceId"])
    return found


class Stack:
    """One CloudFormation stack on the emulator."""

    def __init__(self, emulator, name, template):
        self.emulator = emulator
        self.name = name
        self.template = read(template)
        self.formation = emulator.client("cloudformation")
        self.changes = 0

    def with_code(self, code):
        s3 = self.emulator.client("s3")
        if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(Bucket=BUCKET)
        key = f"{self.name}-{self.changes}.zip"
        s3.put_object(Bucket=BUCKET, Key=key, Body=code)
        self.template["Globals"]["Function"]["CodeUri"] = {"Bucket": BUCKET, "Key": key}
        for resource in self.template["Resources"].values():
            if resource["Type"] == "AWS::CloudFormation::Stack" and not resource["Properties"]["TemplateURL"].startswith("http"):
                nested = resource["Properties"]["TemplateURL"]
                template = NESTED.get(nested, lambda whole: whole)(read(nested))
                s3.put_object(Bucket=BUCKET, Key=nested, Body=json.dumps(template))
                resource["Properties"]["TemplateURL"] = f"{self.emulator.url}/{BUCKET}/{nested}"
        return self

    def deploy(self, parameters):
        """Makes or updates it; fails with the events that say why."""
        kind = "UPDATE" if self.changes else "CREATE"
        self.changes += 1
        change = {"StackName": self.name, "ChangeSetName": f"change-{self.changes}"}
        self.formation.create_change_set(
            **change,
            ChangeSetType=kind,
            TemplateBody=json.dumps(self.template),
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        )
        self.wait(lambda: self.formation.describe_change_set(**change), "Status", "CREATE_COMPLETE")
        self.formation.execute_change_set(**change)
        self.wait(lambda: self.formation.describe_stacks(StackName=self.name)["Stacks"][0], "StackStatus", f"{kind}_COMPLETE")
        return self

    def wait(self, look, field, wanted):
        give_up = time.monotonic() + 120
        while (found := look())[field] != wanted:
            is_over = "FAILED" in found[field] or "ROLLBACK" in found[field]
            assert not is_over and time.monotonic() < give_up, f"{self.name}: {found[field]}: {self.reasons(found)}"
            time.sleep(0.1)

    def reasons(self, found):
        try:
            events = self.formation.describe_stack_events(StackName=self.name)["StackEvents"]
        except self.formation.exceptions.ClientError:
            events = []
        failed = [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in events if "FAILED" in event["ResourceStatus"]]
        return failed or found.get("StatusReason") or found.get("StackStatusReason")

    def resources(self):
        """(logical id, type, physical id) of everything that was made."""
        return made(self.formation, self.name)

    def outputs(self):
        stack = self.formation.describe_stacks(StackName=self.name)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
