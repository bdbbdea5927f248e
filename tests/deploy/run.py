"""Deploys the template to an AWS emulator and runs the suite there and on the embedded stack; both must give the same.

    python run.py --zip target/lambda-of-tests/bootstrap/bootstrap.zip --tidepost PROGRAM --folder target/deploy

Prints what was made, which functions ran, each result, and what every function was seen to ask of AWS.
"""

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import emulator as aws
import policies
import suite
from http_client import until
from recorder import Recorder

FUNCTIONS = ["admin", "callback", "dispatch", "enqueue", "metrics", "release", "report", "sweep"]
# The one that is made with a fixed address alone, at the end of the run.
TOKENS = "tokens"
STACK = "tidepost"
SECRETS = {"secret": suite.SECRET, "token": suite.TOKEN, "aes_key": suite.AES_KEY}
EMBEDDED_ADMIN_KEY = "an-admin-key-for-the-embedded-stack-only"
# What is deployed twice: the second has the same program in another zip, so that every function is replaced.
VERSIONS = ("first", "second")


def say(line):
    print(line, flush=True)


def command(program, api, key):
    """The command as a client of `api`: what it prints as JSON."""

    def run(*arguments):
        ran = subprocess.run([program, *arguments, "--json", "--endpoint", api, "--key", key], capture_output=True, text=True, timeout=90)
        # 1 says that something asked for was not there.
        assert ran.returncode in (0, 1) and ran.stdout, f"{arguments}: {ran.returncode} {ran.stderr}"
        return json.loads(ran.stdout)

    return run


class Embedded:
    """`tidepost up`: the embedded stack, and the simulators for both targets."""

    def __init__(self, tidepost, folder):
        environment = {
            **os.environ,
            "TIDEPOST_ADMIN_KEY": EMBEDDED_ADMIN_KEY,
            **{f"DEPLOY_{name.upper()}": value for name, value in SECRETS.items()},
        }
        self.program = tidepost
        command = [tidepost, "up", "--memory", "--json", "--api", "127.0.0.1:0", "--simulators", "127.0.0.1:0"]
        log = open(folder / "embedded.log", "wb")
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log)
        self.ready = json.loads(self.process.stdout.readline())

    def target(self):
        sqs = aws.client("sqs", self.ready["aws"])
        return suite.Target(
            name="embedded",
            app_id="wx0000embedded0000",
            api=self.ready["api"],
            callbacks=f"{self.ready['api']}/",
            simulator=self.ready["simulators"],
            admin_key=EMBEDDED_ADMIN_KEY,
            secret_refs={name: f"env:DEPLOY_{name.upper()}" for name in SECRETS},
            sqs=sqs,
            queue_url=lambda name: sqs.get_queue_url(QueueName=f"tidepost-{name}")["QueueUrl"],
            command=command(self.program, self.ready["api"], EMBEDDED_ADMIN_KEY),
            start=lambda shop, campaign: self.order(campaign, "start"),
            # Functions in one process are not replaced one by one; the crash tests kill the whole host instead.
            update=lambda: None,
        )

    def order(self, campaign, command):
        """There is no EventBridge, and no clock for it to wait for: what it would hand over is handed over."""
        schedule = aws.read("infra/campaign-schedule.yaml")["Resources"]["Schedule"]["Properties"]
        event = schedule["Target"]["Input"]["Fn::Sub"].replace("${CampaignId}", campaign).replace("${Command}", command)
        functions = aws.client("lambda", self.ready["lambda"])
        functions.invoke(FunctionName="tidepost-enqueue", InvocationType="Event", Payload=event)

    def stop(self):
        self.process.terminate()
        self.process.wait(15)


class Deployed:
    """The template on the emulator."""

    def __init__(self, zipped, program, folder, simulators):
        self.bootstrap = aws.stripped(aws.unpacked(zipped, folder))
        self.program = program
        self.emulator = aws.Emulator(folder)
        self.simulators = simulators
        self.recorder = Recorder(self.emulator.port)
        self.emulator.start(self.recorder.url)
        self.client = functools.cache(self.emulator.client)
        self.orders = []

    def start(self):
        """Deploys the template."""
        self.refs = self.store_secrets()
        self.stack = aws.Stack(self.emulator, STACK, "template.yaml")
        aws.without_what_it_cannot(self.stack.template)
        self.deploy(VERSIONS[0])
        self.made = self.stack.resources()
        self.physical = {logical: physical for logical, _, physical in self.made}

    def store_secrets(self):
        """One of a channel's secrets in Secrets Manager, the others in SSM."""
        manager, parameters = self.client("secretsmanager"), self.client("ssm")
        secret = manager.create_secret(Name="shop/secret", SecretString=SECRETS["secret"])["ARN"]
        refs = {"secret": f"secretsmanager:{secret}"}
        for name in ("token", "aes_key"):
            parameters.put_parameter(Name=f"/shop/{name}", Type="SecureString", Value=SECRETS[name])
            refs[name] = f"ssm:/shop/{name}"
        self.app_secrets = [secret]
        self.callback_secrets = [parameters.get_parameter(Name=f"/shop/{name}")["Parameter"]["ARN"] for name in ("token", "aes_key")]
        return refs

    def deploy(self, version=None, **parameters):
        """With the code of `version`, or else with the code that is there."""
        if version:
            self.stack.with_code(aws.package(self.bootstrap, version))
        self.stack.deploy(
            {
                "AppSecretArns": ",".join(self.app_secrets),
                "CallbackSecretArns": ",".join(self.callback_secrets),
                "DeletionProtection": "false",
                "WechatBaseUrl": self.simulators,
                **parameters,
            }
        )

    def code_of(self):
        functions = self.client("lambda")
        return {name: functions.get_function_configuration(FunctionName=f"{STACK}-{name}")["CodeSha256"] for name in FUNCTIONS}

    def update(self):
        before = self.code_of()
        self.deploy(VERSIONS[1])
        after = self.code_of()
        assert all(before[name] != after[name] for name in FUNCTIONS), "an update left a function as it was"
        say(f"emulator: every function was replaced in mid-run; the callback's alias is at version {self.live()['Version']}")

    def live(self):
        """What callbacks are answered with: the version that the alias points to."""
        return self.client("lambda").get_function_configuration(FunctionName=f"{STACK}-callback", Qualifier="live")

    def change_a_parameter(self):
        """The same code with another parameter: the alias must not keep the environment of before."""
        before = self.live()
        self.deploy(LogLevel="debug")
        after = self.live()
        changed = {name for name, value in after["Environment"]["Variables"].items() if before["Environment"]["Variables"][name] != value}
        assert changed == {"TIDEPOST_LOG"}, f"the callback's alias changed {changed} of its environment"
        assert before["CodeSha256"] == after["CodeSha256"], "another code was deployed"
        say(f"emulator: with LogLevel changed and nothing else the callback's alias went from version {before['Version']} to {after['Version']}")

    def target(self):
        sqs = self.client("sqs")
        api = f"{self.emulator.url}/_aws/execute-api/{self.physical['Api']}/$default"
        secret = self.client("secretsmanager").get_secret_value(SecretId=self.stack.outputs()["AdminKeyArn"])
        return suite.Target(
            name="emulator",
            app_id="wx0000emulator0000",
            api=api,
            callbacks=self.function_url(),
            simulator=self.simulators,
            admin_key=secret["SecretString"],
            secret_refs=self.refs,
            sqs=sqs,
            queue_url=lambda name: sqs.get_queue_url(QueueName=f"{STACK}-{name}")["QueueUrl"],
            command=command(self.program, api, secret["SecretString"]),
            start=lambda shop, campaign: self.order(campaign, "start"),
            update=self.update,
        )

    def function_url(self):
        url = self.client("lambda").get_function_url_config(FunctionName=f"{STACK}-callback", Qualifier="live")["FunctionUrl"]
        return f"{self.recorder.url}/_aws/lambda-url/{url.split('//', 1)[1].split('.')[0]}/"

    def order(self, campaign, command):
        """The example of infra/: a schedule of EventBridge that tells the functions what to do with a campaign, once."""
        at = (datetime.now(timezone.utc) + timedelta(seconds=5)).strftime("at(%Y-%m-%dT%H:%M:%S)")
        stack = aws.Stack(self.emulator, f"{STACK}-order-{len(self.orders) + 1}", "infra/campaign-schedule.yaml")
        when = {"ScheduleExpression": at, "TimeZone": "UTC"}
        stack.deploy({"Tidepost": STACK, "CampaignId": campaign, "Command": command, **when})
        self.orders.append(stack.resources())

    def only_here(self):
        """What the embedded stack has no part for."""
        sqs, functions = self.client("sqs"), self.client("lambda")
        order = {"campaign": "c_romacaqdaqcqm", "command": "start"}
        functions.invoke(FunctionName=f"{STACK}-enqueue", InvocationType="Event", Payload=json.dumps(order))
        kept = sqs.get_queue_url(QueueName=f"{STACK}-order-dlq")["QueueUrl"]

        def letter():
            messages = sqs.receive_message(QueueUrl=kept, WaitTimeSeconds=1).get("Messages")
            return messages and json.loads(messages[0]["Body"])

        found = until("the order that cannot be carried out is kept", letter, 300)
        assert found["requestPayload"] == order, found
        say("emulator: an order for a campaign that is unknown was tried again and then kept")
        self.revoke()
        self.as_scheduled("template-sync")
        say("emulator: the daily schedule's own input synced the templates, with a new token")
        self.change_a_parameter()
        self.fix_the_address()
        self.watch()

    def revoke(self):
        """The next call that asks for the account's templates finds its token taken back."""
        fault = {"match": {"path": "/wxaapi/newtmpl/gettemplate", "times": 1}, "fault": {"kind": "revoke_token"}}
        suite.Http(self.simulators).ok("POST", "/sim/wechat/faults", fault)

    def as_scheduled(self, schedule, ends_well=True):
        """Invokes what a schedule invokes, with the schedule's own input."""
        target = self.client("scheduler").get_schedule(Name=f"{STACK}-{schedule}")["Target"]
        answer = self.client("lambda").invoke(FunctionName=target["Arn"], Payload=target["Input"])
        assert ("FunctionError" not in answer) == ends_well, f"{schedule}: {answer['Payload'].read()}"

    def fix_the_address(self):
        """With a fixed address nobody but tokens fetches: a sync whose token is taken back fails until tokens has run."""
        self.deploy(FixedEgress="true")
        self.revoke()
        self.as_scheduled("template-sync", ends_well=False)
        self.as_scheduled("tokens")
        self.as_scheduled("template-sync")
        self.made = self.stack.resources()
        say("emulator: with FixedEgress a token that was taken back was fetched again by tokens, and by no other function")

    def watch(self):
        """What people look at: every queue, function and table that it names is there, and the dashboard can be read."""
        stack = aws.Stack(self.emulator, f"{STACK}-watch", "infra/watch.yaml")
        aws.without_sums(stack.template)
        stack.deploy({"Tidepost": STACK, "TableName": self.physical["Table"], "FixedEgress": "true"})
        self.made += stack.resources()
        watch = self.client("cloudwatch")
        alarms = watch.get_paginator("describe_alarms").paginate().build_full_result()["MetricAlarms"]
        page = json.loads(watch.get_dashboard(DashboardName=f"{STACK}-{aws.REGION}")["DashboardBody"])
        shown = {arn for widget in page["widgets"] for arn in widget["properties"].get("alarms", [])}
        of_people = {alarm["AlarmArn"] for alarm in alarms if alarm["AlarmActions"]}
        assert shown == of_people, f"the dashboard lists {shown}, and people are told by {of_people}"
        series = [line for widget in page["widgets"] for line in widget["properties"].get("metrics", [])]
        named = {(one["Name"], one["Value"]) for alarm in alarms for one in alarm["Dimensions"]}
        named |= {pair for line in series for pair in zip(line[2::2], line[3::2])}
        missing = named - self.what_is_there()
        assert not missing, f"alarms and dashboard name what is not there: {sorted(missing)}"
        say(f"emulator: {len(shown)} alarms for people and {len(series)} series of the dashboard name what is there, all of it")

    def what_is_there(self):
        """Names of what was deployed, as dimensions of metrics."""
        kinds = {"AWS::SQS::Queue": "QueueName", "AWS::Lambda::Function": "FunctionName", "AWS::DynamoDB::Table": "TableName"}
        there = {(kinds[kind], policies.name_of(physical)) for _, kind, physical in self.made if kind in kinds}
        stages = {("stage", self.live()["Environment"]["Variables"]["TIDEPOST_STAGE"])}
        return there | stages | {("service", name) for name in [*FUNCTIONS, TOKENS]}

    def report(self):
        """What was made, what ran, and whether every policy is exactly what was used."""
        kinds = {}
        for logical, kind, _ in sorted(self.made):
            kinds.setdefault(kind, []).append(logical)
        say(f"\nemulator: {len(self.made)} resources were made")
        for kind, logical in sorted(kinds.items()):
            say(f"  {len(logical):3} {kind}: {', '.join(logical)}")
        say("\nwhat the emulator cannot do")
        for name, what in aws.CANNOT.items():
            say(f"  {name}: {what}")
        iam, functions = self.client("iam"), self.client("lambda")
        logical_of = {policies.name_of(physical): logical for logical, kind, physical in self.made if kind in policies.KINDS}
        problems, unseen = [f"the emulator denied {call}" for call in sorted(set(self.recorder.denied))], []
        problems += [f"{count} calls of {target} came from no function" for target, count in sorted(self.recorder.unknown.items())]
        for stack in (self.made, *self.orders):
            problems += self.schedules(stack)
        say("\nwhat each function asked of AWS")
        for name in [*FUNCTIONS, TOKENS]:
            calls = {(action, resource): count for (function, action, resource), count in self.recorder.calls.items() if function == f"{STACK}-{name}"}
            if not calls:
                problems.append(f"{name} never ran")
            for (action, resource), count in sorted(calls.items()):
                say(f"  {name:9} {count:6} {action} on {logical_of.get(policies.name_of(resource), policies.name_of(resource))}")
            role = functions.get_function_configuration(FunctionName=f"{STACK}-{name}")["Role"].rsplit("/", 1)[-1]
            wrong, idle = policies.compare(name, policies.allowed(iam, role), calls, logical_of)
            problems += wrong
            unseen += [(name, *one) for one in idle]
        say("\nallowed and not asked for by the functions themselves")
        for name, action, resource, reason in unseen:
            if action not in policies.BY_LAMBDA:
                say(f"  {name:9} {action} on {resource}: {reason}")
        say("  every function: " + ", ".join(sorted(policies.BY_LAMBDA)) + ": Lambda itself, for logs and traces")
        return problems

    def schedules(self, made):
        """Whether the role of a stack's schedules is exactly what they need: the emulator itself asks for no role there."""
        names = [policies.name_of(physical) for _, kind, physical in made if kind == "AWS::Scheduler::Schedule"]
        targets = [self.client("scheduler").get_schedule(Name=name)["Target"] for name in names]
        (role,) = {target["RoleArn"].rsplit("/", 1)[-1] for target in targets}
        return policies.schedules(policies.allowed(self.client("iam"), role), targets)

    def tell_errors(self):
        """What the functions logged, and what IAM denied, where something went wrong."""
        logs = self.client("logs")
        for name in FUNCTIONS:
            events = logs.filter_log_events(logGroupName=f"/aws/lambda/{STACK}-{name}", filterPattern="ERROR")["events"]
            for event in events[-3:]:
                say(f"{name}: {event['message'].strip()[:600]}")
        say(f"denied by IAM: {sorted(set(self.recorder.denied))}")

    def stop(self):
        self.emulator.stop()
        self.recorder.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--zip", type=Path, required=True)
    parser.add_argument("--tidepost", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", choices=["embedded", "emulator"])
    args = parser.parse_args()
    shutil.rmtree(args.folder, ignore_errors=True)
    args.folder.mkdir(parents=True)
    begin = time.monotonic()
    embedded = Embedded(args.tidepost, args.folder)
    deployed, problems, results = None, [], {}
    try:
        # Both at once: most of the time is waiting for minutes to pass.
        with ThreadPoolExecutor() as pool:
            running = {}
            if args.only != "emulator":
                running["embedded"] = pool.submit(suite.run, embedded.target(), say)
            if args.only != "embedded":
                deployed = Deployed(args.zip, args.tidepost, args.folder, embedded.ready["simulators"])
                deployed.start()
                running["emulator"] = pool.submit(suite.run, deployed.target(), say)
            for name, run in running.items():
                results[name] = run.result()
        if deployed:
            deployed.only_here()
            problems = deployed.report()
    finally:
        if deployed:
            if "emulator" not in results:
                deployed.tell_errors()
            deployed.stop()
        embedded.stop()
    if len(results) == 2:
        for name, result in results["embedded"].items():
            if results["emulator"][name] != result:
                problems.append(f"{name}: {results['emulator'][name]} on the emulator, {result} on the embedded stack")
    for problem in problems:
        say(f"problem: {problem}")
    say(f"\ndeployment: {len(next(iter(results.values())))} scenarios on {', '.join(results)}, "
        f"{len(problems)} problems, {time.monotonic() - begin:.0f} s")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
