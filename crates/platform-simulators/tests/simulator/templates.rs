//! Template management.

use serde_json::{Value, json};

use crate::harness::{Harness, code};

async fn get(harness: &Harness, token: &str, call: &str) -> Value {
    let joint = if call.contains('?') { '&' } else { '?' };
    harness.read(&format!("/wxaapi/newtmpl/{call}{joint}access_token={token}")).await
}

async fn post(harness: &Harness, token: &str, call: &str, body: &str) -> Value {
    harness.post(&format!("/wxaapi/newtmpl/{call}?access_token={token}"), body).await
}

#[tokio::test]
async fn a_template_is_found_added_used_and_deleted() {
    let harness = Harness::start().await;
    let token = harness.token().await;
    assert_eq!(get(&harness, &token, "getcategory").await["data"][0], json!({"id": 1, "name": "商家自营"}));
    let titles = get(&harness, &token, "getpubtemplatetitles?ids=1,2&start=0&limit=1").await;
    assert_eq!((&titles["count"], &titles["data"].as_array().unwrap().len()), (&json!(4), &1));
    let keywords = get(&harness, &token, "getpubtemplatekeywords?tid=1001").await;
    assert_eq!(keywords["data"][0], json!({"kid": 1, "name": "商品名称", "example": "手冲咖啡两杯", "rule": "thing"}));
    let added = post(&harness, &token, "addtemplate", r#"{"tid":"1001","kidList":[1,5],"sceneDesc":"发货"}"#).await;
    let id = added["priTmplId"].as_str().unwrap();
    let list = get(&harness, &token, "gettemplate").await;
    let mine = list["data"].as_array().unwrap().iter().find(|template| template["priTmplId"] == id).unwrap();
    assert_eq!(mine["content"], "商品名称:{{thing1.DATA}}\n快递公司:{{enum_string5.DATA}}");
    assert_eq!(mine["keywordEnumValueList"][0]["keywordCode"], "enum_string5.DATA");
    harness.accept("o1", id).await;
    let send = |value: &str| {
        format!(
            r#"{{"touser":"o1","template_id":"{id}","data":{{"thing1":{{"value":"茶"}},"enum_string5":{{"value":"{value}"}}}}}}"#
        )
    };
    assert_eq!(code(&harness.send(&token, &send("邮政")).await), 47003);
    assert_eq!(code(&harness.send(&token, &send("顺丰")).await), 0);
    let body = format!(r#"{{"priTmplId":"{id}"}}"#);
    assert_eq!(code(&post(&harness, &token, "deltemplate", &body).await), 0);
    assert_eq!(code(&harness.send(&token, &send("顺丰")).await), 40037);
}

#[tokio::test]
async fn wrong_calls_get_their_codes() {
    let harness = Harness::start().await;
    let token = harness.token().await;
    for (call, expected) in [
        ("getpubtemplatetitles?start=0&limit=1", 200_018),
        ("getpubtemplatetitles?ids=x&start=0&limit=1", 200_019),
        ("getpubtemplatetitles?ids=1&limit=1", 200_016),
        ("getpubtemplatetitles?ids=1&start=0&limit=31", 200_017),
        ("getpubtemplatekeywords?tid=9", 200_014),
        ("addtemplate", 43_002),
    ] {
        assert_eq!(code(&get(&harness, &token, call).await), expected, "{call}");
    }
    for (body, expected) in [
        (r#"{"tid":"9","kidList":[1,2]}"#, 200_014),
        (r#"{"tid":"1001","kidList":[1]}"#, 200_020),
        (r#"{"tid":"1001","kidList":[1,1]}"#, 200_020),
        (r#"{"tid":"1001","kidList":[1,99]}"#, 200_020),
        (r#"{"tid":"1001","kidList":[1,2,3,4,5,6]}"#, 200_020),
        (r#"{"tid":"1001","kidList":[1,2],"sceneDesc":"一二三四五六七八九十一二三四五六"}"#, 200_021),
        (r#"{"tid":"1001","kidList":[1,2]}"#, 0),
        (r#"{"tid":"1001","kidList":[2,1]}"#, 200_022),
        ("", 44_002),
    ] {
        assert_eq!(code(&post(&harness, &token, "addtemplate", body).await), expected, "{body}");
    }
    harness.configure(json!({"template_limit": 2})).await;
    assert_eq!(code(&post(&harness, &token, "addtemplate", r#"{"tid":"1001","kidList":[1,3]}"#).await), 200_012);
    for blocked in [200_011, 200_100, 43_106] {
        harness.configure(json!({"blocked": {"templates": blocked}})).await;
        assert_eq!(code(&get(&harness, &token, "gettemplate").await), blocked);
    }
    assert_eq!(code(&post(&harness, "nothing", "addtemplate", "{}").await), 40_014);
}
