#!/usr/bin/env python3
"""Drives the WeChat simulator with the real wechatpy SDK: token, subscription message, templates, errors, a callback.

    python drive.py --base-url http://127.0.0.1:8788

Needs `pip install wechatpy pycryptodome` and a running simulator. It sets up an app of its own by the control API, so it
disturbs nobody. Prints each step; the exit status is 0 when all of them held, 1 when one did not, 3 when nobody answers.
"""

import argparse
import json
import queue
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wechatpy import WeChatClient
from wechatpy.client.api import WeChatWxa
from wechatpy.crypto import WeChatCrypto
from wechatpy.exceptions import InvalidSignatureException, WeChatClientException
from wechatpy.utils import check_signature

APP_ID = "wxd21ve00000000001"
SECRET = "drive-secret"
TOKEN = "drivetoken"
AES_KEY = "ZHJpdmVLZXlGb3JXZWNoYXRweVRlc3RzMDEyMzQ1Njc"
OPENID = "oDRIVE0001"
TEMPLATE = "TMPL_DRIVE"


class Failed(Exception):
    """A step that did not go as the platform documents it."""


def expect(condition, text):
    if not condition:
        raise Failed(text)
    print("ok   " + text)


class Control:
    """The simulator's control API, by the standard library alone."""

    def __init__(self, base_url):
        self.root = base_url + "/sim/wechat/apps/" + APP_ID

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        request = urllib.request.Request(self.root + path, data=data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise Failed("%s %s: %s %s" % (method, path, error.code, error.read().decode())) from error


class Receiver:
    """A callback address that keeps what it gets."""

    def __init__(self):
        self.pushed = queue.Queue()
        pushed = self.pushed

        class Handler(BaseHTTPRequestHandler):
            def answer(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def query(self):
                return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))

            def do_GET(self):
                query = self.query()
                check_signature(TOKEN, query["signature"], query["timestamp"], query["nonce"])
                self.answer(query["echostr"].encode())

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                pushed.put((self.query(), body))
                self.answer(b"success")

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d/callbacks/drive?tenant=1" % self.server.server_port

    def next(self):
        try:
            return self.pushed.get(timeout=10)
        except queue.Empty:
            raise Failed("no callback came") from None


def client_for(base_url, secret=SECRET):
    """wechatpy, with every address it knows turned to the simulator."""

    class Wxa(WeChatWxa):
        API_BASE_URL = base_url + "/"

    class Client(WeChatClient):
        API_BASE_URL = base_url + "/cgi-bin/"
        wxa = Wxa()

        def fetch_access_token(self):
            # The SDK has the platform's host written into this one method.
            return self._fetch_access_token(
                url=base_url + "/cgi-bin/token",
                params={"grant_type": "client_credential", "appid": self.appid, "secret": self.secret},
            )

    client = Client(APP_ID, secret, timeout=10)
    client._http.trust_env = False
    return client


def setup(control, receiver, fmt):
    control.call("PUT", "", {
        "secret": SECRET, "token": TOKEN, "encoding_aes_key": AES_KEY,
        "callback": {"url": receiver.url, "mode": "safe", "format": fmt},
        "templates": [{
            "priTmplId": TEMPLATE, "title": "订单发货提醒", "type": 2,
            "content": "商品:{{thing1.DATA}}\n金额:{{amount2.DATA}}\n时间:{{time3.DATA}}",
        }],
        "pages": ["pages/order/detail"],
        "people": ["oDRIVE0002"],
    })


def data(thing="手冲咖啡两杯"):
    return {"thing1": {"value": thing}, "amount2": {"value": "￥36.00"}, "time3": {"value": "2026-01-02 15:04"}}


def refused(expected, call):
    """The SDK itself must raise the platform's code."""
    try:
        call()
    except WeChatClientException as error:
        expect(error.errcode == expected, "refused with %s: %s" % (error.errcode, error.errmsg))
        return error
    raise Failed("not refused, but %s was due" % expected)


def opened(crypto, query, body):
    """What a push says, by the SDK's own crypto."""
    encrypted = json.loads(body) if body.startswith("{") else body
    check_signature(TOKEN, query["signature"], query["timestamp"], query["nonce"])
    message = crypto.decrypt_message(encrypted, query["msg_signature"], query["timestamp"], query["nonce"])
    return message.decode() if isinstance(message, bytes) else message


def drive_callbacks(control, receiver):
    crypto = WeChatCrypto(TOKEN, AES_KEY, APP_ID)
    for fmt in ("xml", "json"):
        setup(control, receiver, fmt)
        expect(control.call("POST", "/verify")["verified"], "the callback address is verified")
        answer = control.call("POST", "/subscribe", {"openid": OPENID, "results": {TEMPLATE: "accept"}, "push": True})
        expect(answer["callback"]["body"] == "success", "the %s event was taken: %s" % (fmt, answer["callback"]))
        query, body = receiver.next()
        expect("subscribe_msg_popup_event" not in body, "safe mode sends no plain copy")
        message = opened(crypto, query, body)
        expect("subscribe_msg_popup_event" in message and OPENID in message, "wechatpy decrypts the %s event" % fmt)
        try:
            opened(crypto, dict(query, msg_signature=query["signature"]), body)
        except InvalidSignatureException:
            print("ok   wechatpy refuses a wrong msg_signature")
        else:
            raise Failed("a wrong msg_signature was taken")


def drive_messages(client, receiver):
    token = client.fetch_access_token()
    expect(token["expires_in"] == 7200, "a token of %d characters" % len(token["access_token"]))
    sent = client.wxa.send_subscribe_message(OPENID, TEMPLATE, data(), page="pages/order/detail?id=42")
    expect(sent["errcode"] == 0 and sent["msgid"] > 2**53, "sent, msgid %d" % sent["msgid"])
    query, body = receiver.next()
    event = json.loads(opened(WeChatCrypto(TOKEN, AES_KEY, APP_ID), query, body))
    expect(event["List"]["MsgID"] == str(sent["msgid"]), "the sent event names the same msgid")


def drive_errors(base_url, client):
    send = client.wxa.send_subscribe_message
    client.wxa.send_subscribe_message(OPENID, TEMPLATE, data())
    refused(43101, lambda: send(OPENID, TEMPLATE, data()))
    refused(43101, lambda: send("oDRIVE0002", TEMPLATE, data()))
    refused(40003, lambda: send("oNOBODY", TEMPLATE, data()))
    refused(40037, lambda: send(OPENID, "TMPL_NONE", data()))
    refused(41030, lambda: send(OPENID, TEMPLATE, data(), page="pages/none"))
    error = refused(47003, lambda: send(OPENID, TEMPLATE, data("一二三四五六七八九十一二三四五六七八九十一")))
    expect("data.thing1.value invalid" in error.errmsg, "the text names the field")
    refused(45109, lambda: client.wxa.send_template_message(OPENID, TEMPLATE, data(), "form1"))
    refused(40125, lambda: client_for(base_url, "wrong").fetch_access_token())


def drive_templates(base_url, client):
    # wechatpy's own template methods speak an interface the platform has closed; its client speaks the present one.
    root = base_url + "/wxaapi/newtmpl/"
    titles = client.get(root + "getpubtemplatetitles", params={"ids": "1", "start": 0, "limit": 30})
    expect(titles["count"] > 0, "%d public templates" % titles["count"])
    tid = titles["data"][0]["tid"]
    keywords = client.get(root + "getpubtemplatekeywords", params={"tid": tid})["data"]
    body = {"tid": str(tid), "kidList": [keyword["kid"] for keyword in keywords[:3]], "sceneDesc": "发货"}
    added = client.post(root + "addtemplate", data=body)["priTmplId"]
    listed = [template["priTmplId"] for template in client.get(root + "gettemplate")["data"]]
    expect(added in listed and TEMPLATE in listed, "template %s added and listed" % added)
    refused(200022, lambda: client.post(root + "addtemplate", data=body))
    refused(200020, lambda: client.post(root + "addtemplate", data=dict(body, kidList=[1])))
    client.post(root + "deltemplate", data={"priTmplId": added})
    listed = [template["priTmplId"] for template in client.get(root + "gettemplate")["data"]]
    expect(added not in listed, "and deleted")


def drive_expiry(client):
    client.session.set(client.access_token_key, "a-token-the-platform-does-not-know")
    client.expires_at = None
    quota = client.post("openapi/quota/get", data={"cgi_path": "/cgi-bin/message/subscribe/send"})["quota"]
    expect(quota["used"] > 0, "after 40014 the SDK fetched a new token by itself; quota %s" % quota)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", required=True, help="where the simulator listens")
    base_url = parser.parse_args().base_url.rstrip("/")
    warnings.simplefilter("ignore", DeprecationWarning)
    control, receiver, client = Control(base_url), Receiver(), client_for(base_url)
    try:
        drive_callbacks(control, receiver)
        drive_messages(client, receiver)
        drive_errors(base_url, client)
        drive_templates(base_url, client)
        drive_expiry(client)
    except (Failed, WeChatClientException) as error:
        print("FAIL %s" % error, file=sys.stderr)
        return 1
    except (OSError, urllib.error.URLError) as error:
        print("FAIL %s does not answer: %s" % (base_url, error), file=sys.stderr)
        return 3
    print("wechatpy and the simulator agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
