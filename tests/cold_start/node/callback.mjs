// The callback for Node, as far as a comparison of starts needs it: the signature, and one conditional write.

import { createHash } from 'node:crypto';
import { DynamoDBClient, UpdateItemCommand } from '@aws-sdk/client-dynamodb';

const { TIDEPOST_TABLE: table, COLD_TOKEN: token } = process.env;
const dynamodb = new DynamoDBClient();

export async function handler(event) {
  const query = event.queryStringParameters;
  const body = event.isBase64Encoded ? Buffer.from(event.body, 'base64').toString() : event.body;
  const encrypted = /<Encrypt><!\[CDATA\[(.*?)\]\]>/s.exec(body)[1];
  const signed = [token, query.timestamp, query.nonce, encrypted].sort().join('');
  if (createHash('sha1').update(signed).digest('hex') !== query.msg_signature) {
    return { statusCode: 403, body: 'the signature is wrong' };
  }
  await dynamodb.send(
    new UpdateItemCommand({
      TableName: table,
      Key: { pk: { S: 'COLD#node' }, sk: { S: query.msg_signature } },
      UpdateExpression: 'SET #left = :one',
      ConditionExpression: 'attribute_not_exists(pk)',
      ExpressionAttributeNames: { '#left': 'left' },
      ExpressionAttributeValues: { ':one': { N: '1' } },
    }),
  );
  return { statusCode: 200, body: 'success' };
}
