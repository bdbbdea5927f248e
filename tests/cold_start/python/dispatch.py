"""Dispatch in Python, as far as a comparison of starts needs it: read the person, lease, call, write the receipt."""

import json
import os

import boto3
import urllib3

TABLE = os.environ["TIDEPOST_TABLE"]
SEND_URL = os.environ["COLD_SEND_URL"]
TEMPLATE = os.environ["COLD_TEMPLATE"]
LIMIT = "1000000"

dynamodb = boto3.client("dynamodb")
platform = urllib3.PoolManager()


def handler(event, _context):
    for record in event["Records"]:
        send(json.loads(record["body"]))
    return {"batchItemFailures": []}


def send(task):
    openid = task["to"]["openid"]
    dynamodb.get_item(TableName=TABLE, Key=key("person#" + openid), ConsistentRead=True)
    dynamodb.update_item(
        TableName=TABLE,
        Key=key("quota"),
        UpdateExpression="ADD #used :one",
        ConditionExpression="attribute_not_exists(#used) OR #used < :limit",
        ExpressionAttributeNames={"#used": "used"},
        ExpressionAttributeValues={":one": {"N": "1"}, ":limit": {"N": LIMIT}},
    )
    message = {
        "touser": openid,
        "template_id": TEMPLATE,
        "data": {"character_string1": {"value": "A1"}, "thing2": {"value": "手冲咖啡两杯"}},
    }
    answer = json.loads(platform.request("POST", SEND_URL, json=message).data)
    if answer["errcode"] != 0:
        raise RuntimeError("the platform answers %s" % answer)
    receipt = dict(key("receipt#" + task["id"]), outcome={"S": "delivered"}, msgid={"S": str(answer["msgid"])})
    dynamodb.put_item(TableName=TABLE, Item=receipt)


def key(name):
    return {"pk": {"S": "COLD#python"}, "sk": {"S": name}}
