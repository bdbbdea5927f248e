"""The callback in Python, as far as a comparison of starts needs it: the signature, and one conditional write."""

import base64
import hashlib
import os
from xml.etree import ElementTree

import boto3

TABLE = os.environ["TIDEPOST_TABLE"]
TOKEN = os.environ["COLD_TOKEN"]

dynamodb = boto3.client("dynamodb")


def handler(event, _context):
    query = event["queryStringParameters"]
    body = event["body"]
    if event["isBase64Encoded"]:
        body = base64.b64decode(body)
    encrypted = ElementTree.fromstring(body).findtext("Encrypt")
    signed = "".join(sorted([TOKEN, query["timestamp"], query["nonce"], encrypted]))
    if hashlib.sha1(signed.encode()).hexdigest() != query["msg_signature"]:
        return {"statusCode": 403, "body": "the signature is wrong"}
    dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "COLD#python"}, "sk": {"S": query["msg_signature"]}},
        UpdateExpression="SET #left = :one",
        ConditionExpression="attribute_not_exists(pk)",
        ExpressionAttributeNames={"#left": "left"},
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    return {"statusCode": 200, "body": "success"}
