"""What a shop does, the same on every target: consents, messages, a campaign, dead letters, an update in the middle.

Every scenario returns what came of it; the results of two targets are compared as they are. `Target` says what differs between
them: addresses, where the secrets are, and how a campaign is started by a schedule and the functions are updated.
"""

import json
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Callable

from http_client import Http, until

SECRET, TOKEN, AES_KEY = "0123456789abcdef0123456789abcdef", "deploy2026", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
ORDERS, SALES = "TMPL_ORDERS", "TMPL_SALES"
SEND_PATH = "/cgi-bin/message/subscribe/send"
BUYERS = [f"oBUYER{number:02}" for number in range(40)]
FANS = [f"oFAN{number:02}" for number in range(20)]


@dataclass
class Target:
    name: str
    app_id: str
    api: str
    callbacks: str  # The callback address without `callbacks/<channel>`.
    simulator: str
    admin_key: str
    secret_refs: dict  # secret, token, aes_key
    sqs: object  # A boto3 client.
    queue_url: Callable[[str], str]  # By `now`, `now-dlq` and so on.
    command: Callable[..., dict]  # Runs `tidepost --json` against the API.
    start: Callable[["Shop", str], None]  # Starts a campaign at its time.
    update: Callable[[], None]  # Puts new functions in place of the running ones.


def later(seconds):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


class Shop:
    """One account at the platform, its channel in Tidepost, and a sender's key."""

    def __init__(self, target):
        self.target = target
        self.admin = Http(target.api, target.admin_key)
        self.app = Http(f"{target.simulator}/sim/wechat/apps/{target.app_id}")
        self.sim = Http(f"{target.simulator}/sim/wechat")
        self.sender = None
        self.died = 0

    def open(self):
        templates = [
            {"priTmplId": name, "title": name, "content": "商品:{{thing1.DATA}}\n时间:{{time2.DATA}}", "type": 2} for name in (ORDERS, SALES)
        ]
        callback = {"url": f"{self.target.callbacks}callbacks/shop", "mode": "safe", "format": "json"}
        account = {"secret": SECRET, "token": TOKEN, "encoding_aes_key": AES_KEY, "callback": callback, "templates": templates}
        self.app.ok("PUT", "", account)
        refs = self.target.secret_refs
        channel = {
            "platform": "wechat_mini",
            "app_id": self.target.app_id,
            "secret_ref": refs["secret"],
            "callback": {"mode": "safe", "token_ref": refs["token"], "encoding_aes_key_ref": refs["aes_key"]},
            "quota_rules": [{"id": "minute", "unit": "call", "limit": 600, "window": {"seconds": 60}}],
            # The run may fall into any hour of the day.
            "policy": {"quiet_hours": None},
        }
        self.admin.ok("PUT", "/v1/channels/shop", channel)
        synced = self.admin.ok("POST", "/v1/channels/shop/templates/sync")
        for name, category in ((ORDERS, "basic"), (SALES, "reminder")):
            template = {"title": name, "category": category, "topic": name.lower(), "fields": [{"key": "thing1"}, {"key": "time2"}]}
            self.admin.ok("PUT", f"/v1/channels/shop/templates/{name}", template)
        key = self.admin.ok("POST", "/v1/keys", {"role": "sender", "name": "shop"})
        self.sender = Http(self.target.api, key["key"])
        return synced

    def accept(self, openid, template):
        """The person accepts in the dialog, and the platform calls back."""
        answer = self.app.ok("POST", "/subscribe", {"openid": openid, "results": {template: "accept"}, "push": True})
        return answer["callback"]["status"], answer["callback"]["body"]

    def available(self, openid, template):
        status, person = self.sender.call("GET", f"/v1/channels/shop/subscribers/{openid}")
        grants = person["grants"] if status == 200 else []
        return sum(grant["available"] for grant in grants if grant["template"] == template)

    def try_to_ask(self, key, openid, template=ORDERS, **more):
        body = {"channel": "shop", "openid": openid, "template": template, "data": {"thing1": "手冲咖啡两杯", "time2": "2026-11-21 15:04"}, **more}
        return self.sender.call("POST", "/v1/messages", body, Idempotency_Key=key)

    def ask(self, *args, **more):
        status, answer = self.try_to_ask(*args, **more)
        assert status == 202, f"{status} {answer}"
        return answer

    def message(self, message_id):
        return self.sender.ok("GET", f"/v1/messages/{message_id}")

    def comes_to(self, message_id, status, seconds=90):
        def look():
            message = self.message(message_id)
            return message if message["status"] == status else None

        return until(f"{message_id} is {status}", look, seconds)

    def received(self, openid=None):
        """How often each person got each template, as the platform saw it."""
        counts, cursor = {}, ""
        while True:
            page = self.app.ok("GET", f"/received?limit=1000{cursor}" + (f"&openid={openid}" if openid else ""))
            for item in page["items"]:
                key = (item["openid"], item["template_id"])
                counts[key] = counts.get(key, 0) + 1
            if not page["next_cursor"]:
                return counts
            cursor = f"&cursor={page['next_cursor']}"

    def fault(self, openid, fault):
        match = {"path": SEND_PATH, "openid": openid, "times": 1}
        # Faults are of the simulator as a whole; two targets use it at a time.
        self.sim.ok("POST", "/faults", {"match": match, "fault": fault})


def callback_to_grant(shop):
    callback = shop.accept("oFIRST", ORDERS)
    after_event = shop.available("oFIRST", ORDERS)
    report = {"event_id": "order-1", "openid": "oFIRST", "template": ORDERS, "result": "accept"}
    reported = shop.sender.ok("POST", "/v1/channels/shop/grants", {"grants": [report]})["results"][0]
    assert shop.admin.ok("POST", "/v1/channels/shop/grants", {"grants": [report]})["results"][0]["status"] == "duplicate"
    return {"callback": callback, "available": after_event, "report": reported["status"], "then": shop.available("oFIRST", ORDERS)}


def message_to_delivered(shop):
    asked = shop.ask("first", "oFIRST")
    again = shop.ask("first", "oFIRST")
    message = shop.comes_to(asked["id"], "delivered")
    refused = shop.ask("second", "oFIRST")
    shop.delivered_message, shop.refused_message = asked["id"], refused["id"]
    return {
        "asked": asked["status"],
        "same": asked["id"] == again["id"],
        "code": message["platform"]["code"],
        "received": shop.received("oFIRST"),
        "second": (refused["status"], refused["reason"]["code"]),
    }


def lost_answer(shop):
    """The platform delivers and does not answer: unknown, until its own event says that it was delivered."""
    shop.lost = f"oLOST-{shop.target.name}"
    shop.accept(shop.lost, ORDERS)
    shop.fault(shop.lost, {"kind": "timeout_after_delivery"})
    shop.comes_to(shop.ask("lost", shop.lost)["id"], "delivered")
    return sum(shop.received(shop.lost).values())


def revoked_token(shop):
    """The platform takes the token back: dispatch fetches another, with the secret that it may read."""
    shop.accept(f"oREVOKED-{shop.target.name}", ORDERS)
    shop.fault(f"oREVOKED-{shop.target.name}", {"kind": "revoke_token"})
    return shop.comes_to(shop.ask("revoked", f"oREVOKED-{shop.target.name}")["id"], "delivered")["status"]


def parked(shop):
    """It goes later, when release brings it back. Asked early, looked at late."""
    shop.accept("oLATER", ORDERS)
    return shop.ask("later", "oLATER", not_before=later(70), deadline=later(900))


def parked_is_delivered(shop, asked):
    before = asked["status"], asked["reason"] and asked["reason"]["code"]
    shop.comes_to(asked["id"], "delivered", 200)
    return before, shop.received("oLATER")


def update_in_mid_run(shop):
    """Messages keep coming while the functions are replaced. A call that meets its function's end is made again with its key."""
    for buyer in BUYERS:
        shop.accept(buyer, ORDERS)
    ids, failed = {}, []
    half = threading.Event()

    def ask(number, buyer):
        for _ in range(5):
            status, answer = shop.try_to_ask(f"burst-{number}", buyer)
            if status < 500:
                return answer["id"]
        raise AssertionError(f"{status} {answer}")

    def send():
        for number, buyer in enumerate(BUYERS):
            if number == len(BUYERS) // 4:
                half.set()
            try:
                ids[buyer] = ask(number, buyer)
            except Exception as error:
                failed.append(str(error))

    sending = threading.Thread(target=send)
    sending.start()
    half.wait(60)
    shop.target.update()
    sending.join()
    assert not failed, failed
    return ids


def every_message_ended(shop, ids, say):
    """Whoever was asked for got it once, or it is known that nobody knows: a delivery may have died with its function."""

    def statuses():
        found = {buyer: shop.message(message_id)["status"] for buyer, message_id in ids.items()}
        return None if {"queued", "waiting"} & set(found.values()) else found

    found = until("every message of the update has ended", statuses, 300)
    got = {buyer: shop.received(buyer).get((buyer, ORDERS), 0) for buyer in ids}
    unknown = [buyer for buyer in ids if found[buyer] == "unknown"]
    shop.died = len(unknown)
    if unknown:
        say(f"{shop.target.name}: {len(unknown)} deliveries died with their function: {sum(got[buyer] for buyer in unknown)} were received")
    return {
        "asked": len(ids),
        "doubled": [buyer for buyer in ids if got[buyer] > 1],
        "lost": [buyer for buyer in ids if got[buyer] == 0 and found[buyer] != "unknown"],
        "other": sorted({status for status in found.values()} - {"delivered", "unknown"}),
    }


def campaign(shop):
    """Made for people with a tag who consented, and for a list; started by its schedule."""
    for fan in FANS:
        shop.accept(fan, SALES)
    shop.accept("oOTHER", SALES)
    people = [{"openid": fan, "tags": {"add": ["fan"], "remove": []}} for fan in FANS]
    known = shop.sender.ok("POST", "/v1/channels/shop/subscribers", {"subscribers": people})["results"]
    wanted = {
        "channel": "shop", "name": "Spring", "template": SALES, "topic": "sales", "segment": "tag('fan')", "until": later(86400),
        "data": {"thing1": "春茶到了", "time2": "2026-11-21 15:04"},
    }  # fmt: skip
    made = shop.admin.ok("POST", "/v1/campaigns", wanted)
    shop.target.start(shop, made["id"])

    def is_through():
        got = shop.received()
        return all((fan, SALES) in got for fan in FANS)

    until("every fan has the campaign", is_through, 240)
    shown = until("the campaign counts them", lambda: counted(shop, made["id"]), 120)
    got = shop.received()
    return {
        "known": sorted({result["status"] for result in known}),
        "made": made["status"],
        "status": shown["status"],
        "delivered": shown["counts"]["delivered"],
        "received": {key: count for key, count in got.items() if key[1] == SALES},
    }


def counted(shop, campaign_id):
    shown = shop.admin.ok("GET", f"/v1/campaigns/{campaign_id}")
    return shown if shown["counts"]["delivered"] == len(FANS) else None


def listed_campaign(shop):
    """A list is replaced by another, which is half as long."""
    wanted = {
        "channel": "shop", "name": "List", "template": SALES, "topic": "sales", "until": later(86400),
        "data": {"thing1": "春茶到了", "time2": "2026-11-21 15:04"},
    }  # fmt: skip
    made = shop.admin.ok("POST", "/v1/campaigns", wanted)
    path = f"/v1/campaigns/{made['id']}/list"
    first = shop.admin.ok("PUT", path, "openid\n" + "\n".join(BUYERS) + "\n", Content_Type="text/csv")
    second = shop.admin.ok("PUT", path, "openid\n" + "\n".join(BUYERS[:20]) + "\n", Content_Type="text/csv")
    # Nobody of the list consented to this template.
    started = shop.admin.ok("POST", f"/v1/campaigns/{made['id']}/start")
    stopped = shop.admin.ok("POST", f"/v1/campaigns/{made['id']}/stop")
    return first["listed"], second["listed"], started["status"], stopped["status"]


def letters(shop, queue="now"):
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = shop.target.sqs.get_queue_attributes(QueueUrl=shop.target.queue_url(f"{queue}-dlq"), AttributeNames=names)["Attributes"]
    return sum(int(counts[name]) for name in names)


def bury(shop, queue, body):
    shop.target.sqs.send_message(QueueUrl=shop.target.queue_url(f"{queue}-dlq"), MessageBody=body)


def dead_letter(shop):
    """A task that nobody can read ends among the dead letters, by the command goes back, ends there again, and is dropped.
    The letter of a message that is over is deleted by release."""
    sqs, queue, command = shop.target.sqs, shop.target.queue_url("now"), shop.target.command
    # Five times the real visibility would be minutes.
    was = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]["VisibilityTimeout"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1"})
    sqs.send_message(QueueUrl=queue, MessageBody="no payload of ours")
    until("the poisoned task is a dead letter", lambda: letters(shop) == 1, 60)
    redriven = until("the command sees it", lambda: acted(command("dlq", "redrive", "--all", "--queue", "now")), 60)
    until("it is a dead letter once more", lambda: letters(shop) == 1, 60)
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": was})
    to = {"channel": "shop", "openid": "oFIRST"}
    bury(shop, "now", json.dumps({"version": "1", "id": shop.refused_message, "to": to, "not_after": later(3600)}))
    until("both letters are there", lambda: letters(shop) == 2, 60)
    until("release deletes the letter of the message that is over", lambda: letters(shop) == 1, 150)
    for other in ("bulk", "sweep"):
        bury(shop, other, "no payload of ours")
    listed = until("the command sees all queues", lambda: seen_in_all(command("dlq", "list")), 60)
    redriven += until("bulk goes back", lambda: acted(command("dlq", "redrive", "--all", "--queue", "bulk")), 60)
    redriven += until("sweep goes back", lambda: acted(command("dlq", "redrive", "--all", "--queue", "sweep")), 60)
    dropped = until("the command drops the last", lambda: acted(command("dlq", "drop", "--all", "--queue", "now")), 60)
    return {"listed": listed, "redriven": redriven, "dropped": dropped, "left": letters(shop)}


def acted(answer):
    """How many letters something was done to; another look may have hidden them for a moment."""
    return sum(result["status"] != "not_found" for result in answer["results"])


def seen_in_all(answer):
    found = sorted(letter["queue"] for letter in answer["items"])
    return found if len(set(found)) == 3 else None


def people(shop):
    """Events, preferences, a person with two openids, and erasure."""
    event = {"id": "e1", "type": "click", "channel": "shop", "openid": "oFIRST", "source": shop.delivered_message, "at": later(0)}
    first = shop.sender.ok("POST", "/v1/events", {"events": [event]})["results"][0]["status"]
    second = shop.sender.ok("POST", "/v1/events", {"events": [event]})["results"][0]["status"]
    for number in (1, 2):
        report = {"event_id": f"twin-{number}", "openid": f"oTWIN{number}", "template": ORDERS, "result": "accept", "union_id": "oUNION"}
        shop.sender.ok("POST", "/v1/channels/shop/grants", {"grants": [report]})
    stop = {"stopped": True, "topics": {}}
    preferences = shop.sender.ok("PUT", "/v1/channels/shop/subscribers/oTWIN2/preferences", stop)
    muted = shop.ask("muted", "oTWIN1")
    erased = shop.admin.ok("DELETE", f"/v1/channels/shop/subscribers/{shop.lost}")
    gone, _ = shop.sender.call("GET", f"/v1/channels/shop/subscribers/{shop.lost}")
    return {
        "events": (first, second),
        "preferences": preferences,
        "the other openid": (muted["status"], muted["reason"]["code"]),
        "erased": (erased["erased"], gone),
    }


def what_is_shown(shop):
    now = shop.admin.ok("GET", "/v1/channels/shop/quota")
    metrics = shop.admin.ok("GET", "/v1/channels/shop/metrics?by=template,outcome")["rows"]
    keys = shop.admin.ok("GET", "/v1/keys")["items"]
    dropped, _ = shop.admin.call("DELETE", f"/v1/keys/{keys[0]['id']}")
    refused, _ = Http(shop.target.api, shop.sender.key).call("GET", "/v1/channels/shop")
    counts = {}
    for row in metrics:
        counts[row["template"], row["outcome"]] = counts.get((row["template"], row["outcome"]), 0) + row["count"]
    # Deliveries that died with their function are not the same on two targets: these many, no more, count as the others.
    if shop.died:
        assert counts.pop((ORDERS, "unknown")) == shop.died, counts
        counts[ORDERS, "delivered"] += shop.died
    return {
        "rules": [window["rule"] for window in now["windows"]],
        "metrics": counts,
        "key": (dropped, refused),
        "health": Http(shop.target.api).ok("GET", "/healthz"),
        "contract": Http(shop.target.api).ok("GET", "/openapi.json")["openapi"],
    }


def run(target, say):
    """All scenarios, in an order in which those that wait for a minute do so together."""
    shop = Shop(target)
    results = {"templates synced": shop.open()}

    def scenario(name, result):
        results[name] = result
        say(f"{target.name}: {name}: {json.dumps(plain(result), ensure_ascii=False)}")

    asked = parked(shop)
    scenario("callback to grant", callback_to_grant(shop))
    scenario("message to delivered", message_to_delivered(shop))
    scenario("answer lost, delivered by the platform's event", lost_answer(shop))
    scenario("token taken back", revoked_token(shop))
    updated = update_in_mid_run(shop)
    scenario("scheduled campaign", campaign(shop))
    scenario("list replaced", listed_campaign(shop))
    scenario("parked and released", parked_is_delivered(shop, asked))
    scenario("update in mid-run", every_message_ended(shop, updated, say))
    scenario("dead letter", dead_letter(shop))
    scenario("people", people(shop))
    scenario("what is shown", what_is_shown(shop))
    return results


def plain(result):
    """The same with keys that JSON takes, long tables summed up."""
    if isinstance(result, dict):
        if len(result) > 8:
            return f"{len(result)} entries, {sum(result.values())} in all"
        return {" ".join(key) if isinstance(key, tuple) else key: plain(value) for key, value in result.items()}
    return [plain(one) for one in result] if isinstance(result, (list, tuple)) else result
