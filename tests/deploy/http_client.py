"""JSON over HTTP, with nothing but the standard library."""

import json
import time
import urllib.error
import urllib.request

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Http:
    def __init__(self, base, key=None):
        self.base = base.rstrip("/")
        self.key = key

    def call(self, method, path, body=None, **headers):
        """Status and body of an answer."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=body, method=method, headers=headers)
        try:
            with OPENER.open(request, timeout=40) as answer:
                return answer.status, parse(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, parse(error.read())

    def ok(self, method, path, body=None, **headers):
        """The body of an answer that is what the caller wanted."""
        status, answer = self.call(method, path, body, **headers)
        assert 200 <= status < 300, f"{method} {path}: {status} {answer}"
        return answer


def parse(data):
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def until(what, look, seconds=90):
    """Waits until `look` finds something."""
    give_up = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < give_up, f"waited {seconds} s in vain until {what}"
        time.sleep(0.1)
