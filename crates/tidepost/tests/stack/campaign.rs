//! Campaigns and people from the command line, and campaigns by EventBridge.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidepost::stack::{Options, Stack};

use super::command::{ANY, Server, command};

const CHANNEL: &str = r#"{"platform":"wechat_mini","app_id":"wx0123456789abcdef","secret_ref":"env:WX_SECRET",
    "quota_rules":[{"id":"minute","unit":"call","limit":600,"window":{"seconds":60}}]}"#;
const TEMPLATE: &str = r#"{"title":"上新","category":"reminder","topic":"sales","fields":[{"key":"thing1"}]}"#;

/// A stack on a folder, with a channel and a template.
struct Shop {
    folder: TempDir,
    endpoint: String,
    _server: Server,
}

/// What a command did: its exit code, the JSON that it printed, what it said on standard error.
struct Done {
    code: Option<i32>,
    json: Vec<Value>,
    said: String,
}

impl Shop {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), &["up", "--no-simulators", "--api", ANY]);
        let endpoint = server.line.strip_prefix("ready api=").unwrap().to_owned();
        let shop = Self { folder, endpoint, _server: server };
        assert_eq!(shop.run(&["channel", "put", "shop", &shop.file("channel.json", CHANNEL)]).code, Some(0));
        let put = ["template", "put", "shop", "TMPL_B", &shop.file("template.json", TEMPLATE)];
        assert_eq!(shop.run(&put).code, Some(0));
        shop
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        name.to_owned()
    }

    /// A definition without a segment unless `changes` give it one.
    fn definition(&self, changes: Value) -> String {
        let mut definition = definition();
        definition.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.file("campaign.json", &definition.to_string())
    }

    fn run(&self, arguments: &[&str]) -> Done {
        run(self.folder.path(), &self.endpoint, arguments)
    }

    /// Makes a campaign and returns its id.
    fn create(&self, changes: Value) -> String {
        let made = self.run(&["campaign", "create", &self.definition(changes)]);
        assert_eq!(made.code, Some(0), "{}", made.said);
        made.json.first().and_then(|made| made["id"].as_str()).unwrap().to_owned()
    }
}

fn definition() -> Value {
    json!({"channel": "shop", "name": "Spring", "template": "TMPL_B", "data": {"thing1": "春茶"},
        "until": "2099-01-01T00:00:00Z", "from": "2098-01-01T00:00:00Z"})
}

fn run(folder: &Path, endpoint: &str, arguments: &[&str]) -> Done {
    let output = command(folder, arguments).args(["--endpoint", endpoint, "--json"]).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    Done {
        code: output.status.code(),
        json: lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect(),
        said: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_campaign_goes_from_its_definition_to_its_end() {
    let shop = Shop::open();
    let id = shop.create(json!({"segment": "tag('vip')"}));
    let status = |verb: &str| {
        let done = shop.run(&["campaign", verb, &id]);
        assert_eq!(done.code, Some(0), "{}", done.said);
        done.json[0]["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(["start", "pause", "resume"].map(status), ["scheduled", "paused", "scheduled"]);
    let again = shop.run(&["campaign", "start", &id]);
    assert_eq!(again.code, Some(4));
    assert!(again.said.contains("illegal_state"), "{}", again.said);
    let shown = &shop.run(&["campaign", "show", &id]).json[0];
    assert_eq!((&shown["name"], &shown["counts"]["sent"]), (&json!("Spring"), &json!(0)));
    let listed = shop.run(&["campaign", "list", "--channel", "shop"]);
    assert_eq!(listed.json[0]["items"][0]["id"], json!(id));
    let looked = shop.run(&["campaign", "watch", &id, "--every", "0.1", "--times", "2"]);
    assert_eq!((looked.code, looked.json.len()), (Some(0), 1), "nothing changed between two looks");
    assert_eq!(status("stop"), "stopped");
    let watched = shop.run(&["campaign", "watch", &id]);
    assert_eq!((watched.code, &watched.json[0]["status"]), (Some(0), &json!("stopped")), "it is over");
    assert_eq!(shop.run(&["campaign", "show", "c_none"]).code, Some(1));
    let broken = shop.run(&["campaign", "create", &shop.definition(json!({"segment": "tag('vip'"}))]);
    assert_eq!(broken.code, Some(4));
    assert!(broken.said.contains("segment_malformed"), "{}", broken.said);
    let quota = shop.run(&["quota", "watch", "shop", "--every", "0.1", "--times", "1"]);
    assert_eq!(quota.json[0]["windows"][0]["rule"], "minute", "{}", quota.said);
    assert_eq!(shop.run(&["quota", "shop"]).json[0]["windows"][0]["limit"], 600);
}

#[test]
fn a_long_list_goes_up_in_parts_and_its_bad_rows_are_named() {
    let shop = Shop::open();
    let openids: String = (0..20_000).map(|number| format!("o{number}\n")).collect();
    let list = shop.file("list.csv", &format!("openid\n{openids}not an id\n"));
    let definition = shop.definition(json!({}));
    let made = shop.run(&["campaign", "create", &definition, "--list", &list, "--start"]);
    assert_eq!(made.code, Some(1), "{}", made.said);
    assert!(made.said.contains("line 20002: openid: must be"), "{}", made.said);
    let id = made.json[0]["id"].as_str().unwrap();
    let shown = &shop.run(&["campaign", "show", id]).json[0];
    assert_eq!((&shown["listed"], &shown["status"]), (&json!(20_000), &json!("draft")), "it is not started");
    let whole = shop.file("whole.ndjson", "{\"openid\":\"o1\"}\n");
    let made = shop.run(&["campaign", "create", &definition, "--list", &whole, "--start"]);
    assert_eq!((made.code, &made.json[0]["status"]), (Some(0), &json!("scheduled")), "{}", made.said);
    // Uploading again replaces.
    let again = shop.file("again.csv", "o1\no2\no 3\no2\n");
    let done = shop.run(&["campaign", "upload", id, &again]);
    assert_eq!(done.code, Some(1), "{}", done.said);
    assert_eq!(done.json[0], json!({"accepted": 2, "repeated": 1, "rejected": 1, "listed": 2}));
    assert!(done.said.contains("line 3: openid:"), "{}", done.said);
    assert_eq!(shop.run(&["campaign", "show", id]).json[0]["listed"], 2);
    let segment = shop.create(json!({"segment": "new"}));
    assert_eq!(shop.run(&["campaign", "upload", &segment, &again]).code, Some(4));
    assert_eq!(shop.run(&["campaign", "upload", id, "none.csv"]).code, Some(2));
}

#[test]
fn people_are_imported_from_both_forms_and_bad_rows_are_named() {
    let shop = Shop::open();
    let rows: String = (0..700).map(|number| format!("o{number},vip;early,{number}\n")).collect();
    let csv = shop.file("people.csv", &format!("openid,tags,attributes.points:number\n{rows}o 1,,\no701,,many\n"));
    let done = shop.run(&["subscribers", "import", &csv, "--channel", "shop"]);
    assert_eq!(done.code, Some(1), "{}", done.said);
    assert_eq!(done.json[0], json!({"created": 700, "updated": 0, "unchanged": 0, "rejected": 2}));
    assert!(done.said.contains("line 702: openid:"), "{}", done.said);
    assert!(done.said.contains("line 703: attributes.points:"), "{}", done.said);
    let text = "{\"openid\":\"o1\",\"purchases\":[{\"id\":\"p1\",\"at\":\"1997-01-12T00:00:00+08:00\",\"amount\":\"29.33\"}]}\n";
    let ndjson = shop.file("people.ndjson", &format!("{text}\n{{\"openid\":\"o2\",\"tags\":{{\"add\":[\"vip\"]}}}}\n"));
    let done = shop.run(&["subscribers", "import", &ndjson, "--channel", "shop"]);
    assert_eq!((done.code, &done.json[0]["updated"], &done.json[0]["unchanged"]), (Some(0), &json!(1), &json!(1)));
    let person = &shop.run(&["subscriber", "get", "shop", "o699"]).json[0];
    assert_eq!((&person["tags"], &person["attributes"]["points"]), (&json!(["early", "vip"]), &json!(699)));
    let held_back = shop.run(&["subscribers", "held-back", "shop", "o1"]);
    assert_eq!(held_back.json, [json!({"items": []})]);
    assert_eq!(shop.run(&["subscribers", "import", "none.csv", "--channel", "shop"]).code, Some(2));
    assert_eq!(shop.run(&["subscribers", "import", &csv, "--channel", "nobody"]).code, Some(1));
}

/// EventBridge may say the same twice, and hears of what cannot be.
#[tokio::test]
async fn eventbridge_commands_campaigns() {
    let stack = Stack::start(Options { simulators: None, ..Options::default() }).await.unwrap();
    let http = reqwest::Client::new();
    let call = async |method: &str, path: &str, body: &str| -> Value {
        let request = http.request(method.parse().unwrap(), format!("{}/v1/{path}", stack.api_url));
        let request = request.bearer_auth(stack.admin_key().expose()).header("content-type", "application/json");
        request.body(body.to_owned()).send().await.unwrap().json().await.unwrap()
    };
    call("PUT", "channels/shop", CHANNEL).await;
    call("PUT", "channels/shop/templates/TMPL_B", TEMPLATE).await;
    let mut segment = definition();
    segment["segment"] = json!("new");
    let made = call("POST", "campaigns", &segment.to_string()).await;
    let id = made["id"].as_str().unwrap();
    let order = |command: &str| json!({"campaign": id, "command": command});
    let event = json!({"version": "0", "source": "shop", "detail-type": "Campaign", "detail": order("start")});
    let invoke = async |function: &str, body: String, kind: &str| {
        let url = format!("{}/2015-03-31/functions/{function}/invocations", stack.lambda_endpoint);
        let request = http.post(url).header("x-amz-invocation-type", kind);
        let signed = request.header("authorization", "AWS4-HMAC-SHA256 Credential=local");
        let answer = signed.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("x-amz-function-error"))
    };
    for order in [event.clone(), order("start"), order("pause"), order("resume")] {
        let done = invoke("tidepost-enqueue", order.to_string(), "RequestResponse").await;
        assert_eq!(done, (200, false), "{order}");
    }
    for _ in 0..2 {
        assert_eq!(invoke("tidepost-enqueue", order("stop").to_string(), "Event").await, (202, false));
        stack.idle().await;
    }
    assert_eq!(call("GET", &format!("campaigns/{id}"), "").await["status"], "stopped");
    for wrong in [event, json!({"detail": {}}), json!({"campaign": "c_none", "command": "start"})] {
        let done = invoke("tidepost-enqueue", wrong.to_string(), "RequestResponse").await;
        assert_eq!(done, (200, true), "{wrong}");
    }
    let tick = json!({"detail-type": "Scheduled Event", "source": "hand", "detail": {}}).to_string();
    assert_eq!(invoke("tidepost-release", tick.clone(), "RequestResponse").await, (200, false));
    assert_eq!(invoke("tidepost-callback", tick, "RequestResponse").await, (404, false), "it takes calls alone");
    assert_eq!(invoke("tidepost-release", "no JSON".to_owned(), "Event").await, (400, false));
    stack.stop().await;
}
