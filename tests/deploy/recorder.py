"""A proxy between the deployed functions and the emulator, which writes down every call of AWS: which function, which action, on what."""

import http.client
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# What a call of DynamoDB that touches several items needs permission for, by item.
TRANSACTION_ACTIONS = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
# IAM knows the batch calls of SQS by the name of the single one.
SQS_BATCHES = {f"{name}Batch": name for name in ("ChangeMessageVisibility", "DeleteMessage", "SendMessage")}
# Where the emulator has function URLs. With IAM enforced it takes WeChat's parameter `signature` for an unfinished signature of
# AWS, so callbacks come through here and get the one thing that it lets pass: its root user.
CALLBACKS = "/_aws/lambda-url/"
ROOT = "AWS4-HMAC-SHA256 Credential=test/20261121/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0"
# Headers of a connection, not of a message.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}


def dynamodb(operation, body):
    if operation == "TransactWriteItems":
        for item in body["TransactItems"]:
            ((kind, what),) = item.items()
            yield f"dynamodb:{TRANSACTION_ACTIONS[kind]}", what["TableName"]
    elif operation == "BatchGetItem":
        for table in body["RequestItems"]:
            yield "dynamodb:BatchGetItem", table
    else:
        yield f"dynamodb:{operation}", body["TableName"]


def sqs(operation, body):
    yield f"sqs:{SQS_BATCHES.get(operation, operation)}", body["QueueUrl"].rsplit("/", 1)[-1]


def secretsmanager(operation, body):
    yield f"secretsmanager:{operation}", body["SecretId"]


def ssm(operation, body):
    yield f"ssm:{operation}", body["Name"]


SERVICES = {"DynamoDB_20120810": dynamodb, "AmazonSQS": sqs, "secretsmanager": secretsmanager, "AmazonSSM": ssm}


def permissions(target, body):
    """The actions that a call needs, each with the last part of its resource's name."""
    service, operation = target.split(".", 1)
    return list(SERVICES[service](operation, json.loads(body)))


class Functions:
    """Whose credentials are whose: the emulator gives each function's processes credentials of its role, in the environment."""

    def __init__(self):
        self.known = {}
        self.lock = threading.Lock()

    def of(self, authorization):
        key = re.search(r"Credential=([^/,]+)", authorization or "")
        key = key.group(1) if key else ""
        with self.lock:
            if key not in self.known:
                self.known.update(self.look())
            return self.known.get(key)

    @staticmethod
    def look():
        found = {}
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                pairs = (pair.partition(b"=") for pair in environ.read_bytes().split(b"\0"))
                names = {name.decode(): value.decode() for name, _, value in pairs}
            except (OSError, UnicodeDecodeError):
                continue  # Gone, or another user's.
            if "AWS_LAMBDA_FUNCTION_NAME" in names and "AWS_ACCESS_KEY_ID" in names:
                found[names["AWS_ACCESS_KEY_ID"]] = names["AWS_LAMBDA_FUNCTION_NAME"]
        return found


class Recorder:
    """Listens on a port of its own; `calls` counts by function, action and resource, `denied` lists what the emulator's IAM refused,
    `unknown` counts by target the calls of which nobody knows whose they are: no policy was compared with them."""

    def __init__(self, emulator_port):
        self.calls = Counter()
        self.denied = []
        self.unknown = Counter()
        self.lock = threading.Lock()
        self.functions = Functions()
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                is_callback = self.path.startswith(CALLBACKS)
                # Asked now, while whoever calls is there for certain: an update may end it before the answer.
                function = None if is_callback else recorder.functions.of(self.headers.get("Authorization"))
                if is_callback:
                    self.headers["Authorization"] = ROOT
                try:
                    status, headers, answer = forward(emulator_port, self.command, self.path, self.headers, body)
                except OSError:
                    # The emulator has ended, and a function asks for its last time.
                    status, headers, answer = 503, [], b""
                if not is_callback:
                    recorder.note(function, self.headers.get("X-Amz-Target"), body, status, answer)
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in HOP_BY_HOP | {"content-length"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_DELETE = do_POST

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                pass  # A function was ended in the middle of a call.

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def note(self, function, target, body, status, answer):
        with self.lock:
            if not target:
                return  # No service that functions call is spoken to without: logs and traces are Lambda's own.
            if function is None:
                self.unknown[target] += 1
                return
            for action, resource in permissions(target, body):
                self.calls[function, action, resource] += 1
                if status in (400, 403) and b"AccessDenied" in answer:
                    self.denied.append((function, action, resource))

    def stop(self):
        self.server.shutdown()


local = threading.local()


def forward(port, method, path, headers, body):
    """The same call to the emulator. It keeps the Host header, which is part of what was signed."""
    passed = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
    for attempt in (1, 2):
        connection = getattr(local, "connection", None) or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        local.connection = connection
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in passed.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except (http.client.BadStatusLine, ConnectionError, BrokenPipeError):
            # The emulator closed a connection that was idle: nothing of this call was seen.
            connection.close()
            local.connection = None
            if attempt == 2:
                raise
