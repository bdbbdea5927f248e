use serde_json::json;
use tidepost_core::reply::RetryReason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::platform::http_client;

const TIMEOUT: Duration = Duration::from_millis(500);

/// What the server does after it has read one whole request.
enum Reaction {
    /// Writes these bytes and closes.
    Write(String),
    /// Says nothing until the client gives up.
    Hang,
}

/// A server for one request; its task returns that request.
async fn serve(reaction: Reaction) -> (WechatClient, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        match reaction {
            Reaction::Write(reply) => stream.write_all(reply.as_bytes()).await.unwrap(),
            Reaction::Hang => tokio::time::sleep(4 * TIMEOUT).await,
        }
        request
    });
    (WechatClient::new(Transport::network(http_client().unwrap()), base_url), server)
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !is_whole(&bytes) {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
    }
    String::from_utf8(bytes).unwrap()
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    bytes.len() >= head.len() + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap())
}

fn http(status: u16, body: &str) -> Reaction {
    let length = body.len();
    Reaction::Write(format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"))
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

async fn send_to(client: &WechatClient) -> CallResult {
    let data = BTreeMap::from([("thing1".to_owned(), "手冲咖啡两杯".to_owned())]);
    let page = Some("pages/order/detail?id=42");
    let send = Send { openid: "oUSER0001", template: "TMPL_A", long_term: false, page, data: &data };
    client.send(&secret("TOKEN/1+2"), &send, TIMEOUT).await
}

async fn send_and_get(reaction: Reaction) -> CallResult {
    let (client, server) = serve(reaction).await;
    let result = send_to(&client).await;
    server.await.unwrap();
    result
}

fn delivered(message_id: Option<&str>) -> CallResult {
    let reply = Reply::Delivered { message_id: message_id.map(str::to_owned) };
    CallResult::Answered(Answer { code: 0, message: "ok".to_owned(), reply })
}

#[tokio::test]
async fn a_send_is_the_documented_request() {
    let (client, server) = serve(http(200, r#"{"errcode":0,"errmsg":"ok","msgid":3248682510344192008}"#)).await;
    assert_eq!(send_to(&client).await, delivered(Some("3248682510344192008")));
    let request = server.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /cgi-bin/message/subscribe/send?access_token=TOKEN%2F1%2B2 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    assert!(body.contains("手冲咖啡两杯"), "raw UTF-8: {body}");
    let expected = json!({"touser": "oUSER0001", "template_id": "TMPL_A", "page": "pages/order/detail?id=42",
        "miniprogram_state": "formal", "lang": "zh_CN", "data": {"thing1": {"value": "手冲咖啡两杯"}}});
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), expected);
}

#[tokio::test]
async fn the_message_id_is_a_number_a_text_or_absent() {
    for (msgid, expected) in [
        (r#","msgid":18446744073709551615"#, Some("18446744073709551615")),
        (r#","msgid":"3248682510344192008""#, Some("3248682510344192008")),
        (r#","msgid":1.5e30"#, None),
        (r#","msgid":null"#, None),
        ("", None),
    ] {
        let body = format!(r#"{{"errcode":0,"errmsg":"ok"{msgid}}}"#);
        assert_eq!(send_and_get(http(200, &body)).await, delivered(expected), "{body}");
    }
    let quiet = send_and_get(http(200, r#"{"msgid":7}"#)).await;
    assert!(matches!(quiet, CallResult::Answered(Answer { code: 0, reply: Reply::Delivered { .. }, .. })));
}

#[tokio::test]
async fn an_error_code_is_an_answer_whatever_the_status() {
    for status in [200, 500] {
        let result = send_and_get(http(status, r#"{"errcode":43101,"errmsg":"user refuse to accept the msg"}"#)).await;
        let message = "user refuse to accept the msg".to_owned();
        assert_eq!(result, CallResult::Answered(Answer { code: 43101, message, reply: Reply::NoGrant }));
    }
    let busy = send_and_get(http(200, r#"{"errcode":"-1","errmsg":"system error"}"#)).await;
    let reply = Reply::Retry { after_seconds: 1, reason: RetryReason::Busy };
    assert_eq!(busy, CallResult::Answered(Answer { code: -1, message: "system error".to_owned(), reply }));
}

#[tokio::test]
async fn what_is_no_reply_of_wechat_is_unknown() {
    let reactions = [
        http(503, ""),
        http(502, "<html>bad gateway</html>"),
        http(500, "{}"),
        http(500, r#"{"errcode":0,"errmsg":"ok"}"#),
        http(302, ""),
        http(404, "not found"),
        http(200, ""),
        http(200, "<xml><errcode>0</errcode></xml>"),
        http(200, " <html><body>all is well</body></html>"),
        http(200, "[]"),
        http(200, r#"{"errcode":null}"#),
        http(200, r#"{"errcode":0"#),
        Reaction::Write("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"errcode\":0".to_owned()),
        Reaction::Write("nonsense".to_owned()),
        Reaction::Write(String::new()),
        Reaction::Hang,
    ];
    for (at, reaction) in reactions.into_iter().enumerate() {
        let result = send_and_get(reaction).await;
        let CallResult::Unknown { detail } = result else { panic!("{at}: {result:?}") };
        assert!(!detail.contains("TOKEN") && !detail.contains("127.0.0.1"), "{detail}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for base_url in [base_url, "not an address".to_owned()] {
        let result = send_to(&WechatClient::new(Transport::network(http_client().unwrap()), base_url)).await;
        let CallResult::NotSent { detail } = result else { panic!("{result:?}") };
        assert!(!detail.contains("TOKEN"), "{detail}");
    }
}

#[tokio::test]
async fn a_token_comes_from_stable_token() {
    let (client, server) = serve(http(200, r#"{"access_token":"ACCESS","expires_in":7200}"#)).await;
    let token = client.fetch_token("wx1", &secret("S"), false).await.unwrap();
    assert_eq!(token.access_token.expose(), "ACCESS");
    assert_eq!(token.expires_in_seconds, 7200);
    assert!(!format!("{token:?}").contains("ACCESS"));
    let request = server.await.unwrap();
    assert!(request.starts_with("POST /cgi-bin/stable_token HTTP/1.1"), "{request}");
    let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    let expected = json!({"grant_type": "client_credential", "appid": "wx1", "secret": "S", "force_refresh": false});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn token_errors_say_whether_to_try_again() {
    for (reaction, retries) in [
        (http(200, r#"{"errcode":-1,"errmsg":"system error"}"#), true),
        (http(200, r#"{"errcode":45009,"errmsg":"reach max minute limit"}"#), true),
        (http(200, "{}"), true),
        (http(503, ""), true),
        (http(200, r#"{"errcode":40001,"errmsg":"invalid secret"}"#), false),
        (http(200, r#"{"errcode":40125,"errmsg":"invalid appsecret"}"#), false),
        (http(200, r#"{"errcode":40164,"errmsg":"invalid ip 1.2.3.4"}"#), false),
        (http(200, r#"{"errcode":45009,"errmsg":"reach max daily limit"}"#), false),
    ] {
        let (client, _server) = serve(reaction).await;
        let error = client.fetch_token("wx1", &secret("SECRET"), false).await.unwrap_err();
        assert_eq!(matches!(error, TokenError::Retry { .. }), retries, "{error}");
        assert!(!error.to_string().contains("SECRET"));
    }
}

#[tokio::test]
async fn templates_are_read_with_their_fields() {
    let body = json!({"errcode": 0, "errmsg": "ok", "data": [
        {"priTmplId": "TMPL_A", "title": "订单发货提醒", "type": 2, "example": "x",
         "content": "商品:{{thing1.DATA}}\n时间:{{time2.DATA}}\n快递:{{enum_string3.DATA}}\n又:{{thing1.DATA}} {{}} {{a b.DATA}}\n",
         "keywordEnumValueList": [{"keywordCode": "enum_string3.DATA", "enumValueList": ["顺丰", "京东"]}]},
        {"priTmplId": "TMPL_L", "title": "挂号", "type": 3, "content": "日期:{{date1.DATA}}", "keywordEnumValueList": null},
        {"priTmplId": "TMPL_X", "title": "?", "type": 4, "content": ""}]});
    let (client, server) = serve(http(200, &body.to_string())).await;
    let templates = client.templates(&secret("T")).await.unwrap();
    assert!(server.await.unwrap().starts_with("GET /wxaapi/newtmpl/gettemplate?access_token=T HTTP/1.1"));
    let [first, second] = templates.as_slice() else { panic!("{templates:?}") };
    assert_eq!((first.id.as_str(), first.title.as_str()), ("TMPL_A", "订单发货提醒"));
    assert_eq!((first.kind, second.kind), (TemplateKind::OneTime, TemplateKind::LongTerm));
    let keys: Vec<&str> = first.fields.iter().map(|field| field.key.as_str()).collect();
    assert_eq!(keys, ["thing1", "time2", "enum_string3"]);
    assert_eq!(first.fields[2].values, ["顺丰", "京东"]);
    assert!(first.fields[0].values.is_empty());
    let (client, _server) = serve(http(200, r#"{"errcode":0,"data":[]}"#)).await;
    assert_eq!(client.templates(&secret("T")).await.unwrap(), []);
}

#[tokio::test]
async fn read_errors_say_what_to_do() {
    for (body, expected) in [
        (r#"{"errcode":42001,"errmsg":"expired"}"#, "token"),
        (r#"{"errcode":-1,"errmsg":"busy"}"#, "retry"),
        (r#"{"errcode":200001,"errmsg":"system error"}"#, "retry"),
        (r#"{"errcode":0,"data":{}}"#, "retry"),
        (r#"{"errcode":0}"#, "retry"),
        ("gateway", "retry"),
        (r#"{"errcode":200011,"errmsg":"banned"}"#, "refused"),
    ] {
        let (client, _server) = serve(http(200, body)).await;
        let kind = match client.templates(&secret("T")).await.unwrap_err() {
            ReadError::RefreshToken { .. } => "token",
            ReadError::Retry { .. } => "retry",
            ReadError::Refused { .. } => "refused",
        };
        assert_eq!(kind, expected, "{body}");
    }
}

#[tokio::test]
async fn quota_is_read_for_a_path() {
    let body = json!({"errcode": 0, "quota": {"daily_limit": 30_000_000, "used": 12, "remain": 29_999_988},
        "rate_limit": {"call_count": 600, "refresh_second": 60}, "component_rate_limit": {}});
    let (client, server) = serve(http(200, &body.to_string())).await;
    let quota = client.quota(&secret("T"), SEND_PATH).await.unwrap();
    assert_eq!(quota, Quota { daily_limit: 30_000_000, used: 12, remain: 29_999_988 });
    let request = server.await.unwrap();
    assert!(request.starts_with("POST /cgi-bin/openapi/quota/get?access_token=T HTTP/1.1"), "{request}");
    assert!(request.ends_with(r#"{"cgi_path":"/cgi-bin/message/subscribe/send"}"#), "{request}");
}
