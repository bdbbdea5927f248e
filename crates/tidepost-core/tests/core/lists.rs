//! Files of people: what can be read is read, and each line that cannot is named with its reason.

use std::path::Path;

use proptest::prelude::*;
use tidepost_core::list::{Form, Import, openids, subscribers};
use tidepost_core::profile::ProfileRequest;

fn values<T: Clone>(import: &Import<T>) -> Vec<T> {
    import.rows.iter().map(|row| row.value.clone()).collect()
}

/// Line, column and reason of each fault.
fn faults<T>(import: &Import<T>) -> Vec<String> {
    let fault = |fault: &tidepost_core::list::Rejected| format!("{}: {}", fault.line, fault.reason);
    import.rejected.iter().map(fault).collect()
}

const ID: &str = "openid: must be 1 to 64 of the characters A-Z a-z 0-9 _ . -";

#[test]
fn a_list_is_one_column_with_or_without_a_header() {
    for file in ["o1\no2\n", "openid\no1\no2", "\u{feff}OpenID\r\no1\r\n\r\n  \r\no2\r\n", "\"o1\"\n\"o2\" \n"] {
        let list = openids(file.as_bytes(), Form::Csv);
        assert_eq!((values(&list), faults(&list)), (vec!["o1".to_owned(), "o2".to_owned()], vec![]), "{file:?}");
    }
    assert_eq!(openids(b"", Form::Csv), openids(b"openid\n", Form::Csv));
}

#[test]
fn a_broken_line_of_a_list_is_named_and_the_rest_is_read() {
    let long = "x".repeat(65);
    let file = format!("o1\no 2\no1\n\"o3\nname,o4\n{long}\n\u{540d}\n\no5\n");
    let list = openids(file.as_bytes(), Form::Csv);
    assert_eq!(values(&list), ["o1", "o5"]);
    assert_eq!(list.rows[1].line, 9);
    assert_eq!(list.repeated, 1);
    let quote = "row: a quote is opened and not closed; a quote inside a quoted cell is written twice";
    let cells = "row: must have 1 cells, has 2";
    assert_eq!(
        faults(&list),
        [format!("2: {ID}"), format!("4: {quote}"), format!("5: {cells}"), format!("6: {ID}"), format!("7: {ID}")]
    );
}

#[test]
fn a_list_may_be_ndjson() {
    let file = "{\"openid\":\"o1\"}\n\n{\"openid\":\"o2\",\"tags\":{\"add\":[\"vip\"]}}\n{\"open_id\":\"o3\"}\n\"o4\"\n{\"openid\":\n{\"openid\":\"o 5\"}\n{\"openid\":\"o1\"}";
    let list = openids(file.as_bytes(), Form::Ndjson);
    assert_eq!((values(&list), list.repeated), (vec!["o1".to_owned(), "o2".to_owned()], 1));
    let faults = faults(&list);
    let begins = ["4: row: unknown field `open_id`", "5: row: invalid type", "6: row: EOF", "7: openid: must be"];
    assert_eq!(faults.len(), begins.len(), "{faults:?}");
    for (fault, begin) in faults.iter().zip(begins) {
        assert!(fault.starts_with(begin), "{fault}");
        assert!(!fault.contains("line 1"), "{fault}");
    }
}

#[test]
fn other_encodings_are_named() {
    let gbk = openids(b"o1\n\xc3\xfb\xd7\xd6\no2\n", Form::Csv);
    assert_eq!(values(&gbk), ["o1", "o2"]);
    assert_eq!(faults(&gbk), ["2: row: must be UTF-8; save the file as UTF-8"]);
    let utf16 = subscribers(b"\xff\xfeo\x001\x00", Form::Csv);
    assert_eq!(faults(&utf16), ["1: file: the file is UTF-16; save it as UTF-8"]);
}

fn request(json: serde_json::Value) -> ProfileRequest {
    serde_json::from_value(json).unwrap()
}

#[test]
fn columns_become_what_the_api_takes() {
    let file = "openid,union_id,time_zone,tags,tags.remove,attributes.name,attributes.age:number,attributes.member:bool,\
                purchases.id,purchases.at,purchases.amount,purchases.items\n\
                o1,u1,Asia/Urumqi,vip; 老客,old,\"小王, \"\"W\"\"\nnext line\",30,true,p1,1997-01-12T00:00:00+08:00,29.33,2\n\
                o2,,,,,,,,,,,\n\
                o1,,,,vip,,31,,p2,1997-01-13T00:00:00+08:00,5,\n";
    let import = subscribers(file.as_bytes(), Form::Csv);
    assert_eq!(faults(&import), Vec::<String>::new());
    let expected = request(serde_json::json!({
        "openid": "o1", "union_id": "u1", "time_zone": "Asia/Urumqi",
        "attributes": {"name": "小王, \"W\"\nnext line", "age": 31, "member": true},
        "tags": {"add": ["老客"], "remove": ["old", "vip"]},
        "purchases": [
            {"id": "p1", "at": "1997-01-12T00:00:00+08:00", "amount": "29.33", "items": 2},
            {"id": "p2", "at": "1997-01-13T00:00:00+08:00", "amount": "5"},
        ],
    }));
    assert_eq!(values(&import), [expected.clone(), request(serde_json::json!({"openid": "o2"}))]);
    assert_eq!((import.rows[0].line, import.rows[1].line, import.repeated), (2, 4, 1));
    let sent = serde_json::to_string(&expected).unwrap();
    let ndjson = subscribers(sent.as_bytes(), Form::Ndjson);
    assert_eq!(values(&ndjson), [expected], "what is sent is what was read");
}

#[test]
fn every_fault_of_a_row_is_named() {
    let file = "openid,tags,attributes.age:number,attributes.ok:bool,purchases.id,purchases.at,purchases.amount\n\
                o1,a,x,yes,,,\n\
                o 2,it's,1,true,p1,1997-01-12T00:00:00+08:00,1.234\n\
                o3,a,1,true,p1,yesterday,1\n\
                o4,a,1,true,p1,,\n\
                o5,a\n\
                o6,\"a,1,true,,,\n\
                o7,b,1,true,,,\n";
    let import = subscribers(file.as_bytes(), Form::Csv);
    assert_eq!(values(&import).iter().map(|one| one.openid.as_str()).collect::<Vec<_>>(), ["o7"]);
    let amount = "must be a decimal from 0 to 10000000 with at most two places, such as \"29.33\"";
    assert_eq!(
        faults(&import),
        [
            "2: attributes.age: must be a number such as 4 or 29.33",
            "2: attributes.ok: must be true or false",
            &format!("3: {ID}"),
            "3: tags: a tag has 1 to 64 characters and no quotes or line breaks",
            &format!("3: purchases[0].amount: {amount}"),
            "4: purchases.at: must be a time such as 2026-11-21T10:00:00+08:00",
            "5: purchases: id, at and amount belong together",
            "6: row: must have 7 cells, has 2",
            "7: row: a quote is opened and not closed; a quote inside a quoted cell is written twice",
        ]
    );
}

#[test]
fn a_stray_quote_that_another_one_closes_costs_its_line_only() {
    let file = "openid,tags\no1,\"a\no2,b\no3,c\no4,d\"\no5,e\n";
    let import = subscribers(file.as_bytes(), Form::Csv);
    let read: Vec<String> = values(&import).into_iter().map(|one| one.openid).collect();
    assert_eq!(read, ["o2", "o3", "o5"]);
    assert_eq!(import.rejected.iter().map(|fault| fault.line).collect::<Vec<_>>(), [2, 5]);
}

#[test]
fn a_wrong_header_is_explained_and_nothing_is_read() {
    for (header, expected) in [
        ("open_id,tags", vec!["1: open_id: no such column; did you mean openid?"]),
        ("tags", vec!["1: openid: the first line names the columns; one must be openid"]),
        ("openid,tags,tags", vec!["1: tags: this column comes twice"]),
        ("openid,attributes.age:int", vec!["1: attributes.age:int: after : stands text, number or bool"]),
        (
            "openid,purchases.items,purchases.id",
            vec![
                "1: purchases.at: a purchase has an id, a time and an amount",
                "1: purchases.amount: a purchase has an id, a time and an amount",
            ],
        ),
    ] {
        let import = subscribers(format!("{header}\no1,a,b\n").as_bytes(), Form::Csv);
        assert_eq!((faults(&import), import.rows.len()), (expected.into_iter().map(str::to_owned).collect(), 0));
    }
}

/// A cell as RFC 4180 has it.
fn quoted(cell: &str) -> String {
    format!("\"{}\"", cell.replace('"', "\"\""))
}

proptest! {
    #[test]
    fn what_is_written_by_the_rules_is_read(
        names in prop::collection::vec("[ -~\u{540d}\n\r,\";]{0,12}", 0..12),
        end in prop::sample::select(vec!["\n", "\r\n"]),
        mark in prop::sample::select(vec!["", "\u{feff}"]),
    ) {
        let lines = names.iter().enumerate().map(|(number, name)| format!("o{number},{}{end}", quoted(name)));
        let file = format!("{mark}openid,attributes.name{end}{}", lines.collect::<String>());
        let import = subscribers(file.as_bytes(), Form::Csv);
        prop_assert_eq!(faults(&import), Vec::<String>::new());
        let read = values(&import).into_iter().map(|one| one.attributes.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned());
        prop_assert_eq!(read.collect::<Vec<_>>(), names.iter().map(|name| name.trim().to_owned()).collect::<Vec<_>>());
    }

    #[test]
    fn a_broken_line_costs_only_itself(
        count in 1_usize..20,
        at in any::<prop::sample::Index>(),
        broken in prop::sample::select(vec!["\"", "a\"b", "x,y", "o 1", "\u{540d}", "\"a\"\"", "{", "[]", "{\"openid\":1}"]),
        form in prop::sample::select(vec![Form::Csv, Form::Ndjson]),
    ) {
        let line = |number: usize| match form {
            Form::Csv => format!("o{number}"),
            Form::Ndjson => format!("{{\"openid\":\"o{number}\"}}"),
        };
        let mut lines: Vec<String> = (0..count).map(line).collect();
        let at = at.index(count + 1);
        lines.insert(at, broken.to_owned());
        let import = openids(lines.join("\n").as_bytes(), form);
        prop_assert_eq!(values(&import), (0..count).map(|number| format!("o{number}")).collect::<Vec<_>>());
        prop_assert_eq!(import.rejected.iter().map(|fault| fault.line).collect::<Vec<_>>(), [at + 1]);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        bytes in prop::collection::vec(prop::sample::select(b"o1,\"\n\r{}:[]openid\xff\xc3;".to_vec()), 0..80),
    ) {
        for form in [Form::Csv, Form::Ndjson] {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            let list = openids(&bytes, form);
            prop_assert!(list.rejected.iter().all(|fault| (1..=lines).contains(&fault.line)));
            let headed = [b"openid,attributes.a\n", &bytes[..]].concat();
            prop_assert!(subscribers(&headed, form).rejected.iter().all(|fault| fault.line <= lines + 1));
        }
    }
}

/// Real purchases, one a line: customer, date, number of records, dollars.
#[test]
fn real_purchases_become_one_request_for_each_customer() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/cdnow_transactions.txt");
    let Ok(text) = std::fs::read_to_string(&file) else {
        println!("skipped: {} is not there", file.display());
        return;
    };
    let mut csv = "openid,purchases.id,purchases.at,purchases.amount,purchases.items\n".to_owned();
    for (number, line) in text.lines().enumerate().skip(1) {
        let [customer, date, items, dollars] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (year, month, day) = (&date[..4], &date[4..6], &date[6..]);
        csv += &format!("{customer},p{number},{year}-{month}-{day}T00:00:00+08:00,{dollars},{items}\n");
    }
    let import = subscribers(csv.as_bytes(), Form::Csv);
    assert_eq!(faults(&import), Vec::<String>::new());
    let purchases: usize = import.rows.iter().map(|row| row.value.purchases.len()).sum();
    assert_eq!((import.rows.len(), purchases, import.repeated), (23_570, 69_659, 69_659 - 23_570));
}
