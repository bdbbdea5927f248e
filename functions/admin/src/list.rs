//! Pages of lists that are short enough to be read whole.

use serde::Serialize;
use serde_json::{Value, json};
use tidepost_io::http::{Problem, Request};

/// One item of a list: its id and what else there is.
#[derive(Serialize)]
struct Item<T> {
    id: String,
    #[serde(flatten)]
    value: T,
}

/// The page that `request` asks for of `all`, which is sorted by id. The cursor is the last id of the page before.
pub fn page<T: Serialize>(request: &Request, all: impl IntoIterator<Item = (String, T)>) -> Result<Value, Problem> {
    let limit = request.limit()?;
    let after = request.query.get("cursor").map(String::as_str).unwrap_or_default();
    let mut rest = all.into_iter().skip_while(|(id, _)| id.as_str() <= after);
    let items: Vec<Item<T>> = rest.by_ref().take(limit).map(|(id, value)| Item { id, value }).collect();
    let next_cursor = items.last().map(|item| item.id.clone()).filter(|_| rest.next().is_some());
    Ok(json!({ "items": items, "next_cursor": next_cursor }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn request(query: &[(&str, &str)]) -> Request {
        Request {
            method: "GET".to_owned(),
            path: Vec::new(),
            query: query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            headers: Default::default(),
            body: Vec::new(),
        }
    }

    fn all() -> BTreeMap<String, Value> {
        ["a", "b", "c"].into_iter().map(|id| (id.to_owned(), json!({ "name": id }))).collect()
    }

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let first = page(&request(&[("limit", "2")]), all()).unwrap();
        assert_eq!(first, json!({"items": [{"id": "a", "name": "a"}, {"id": "b", "name": "b"}], "next_cursor": "b"}));
        let last = page(&request(&[("limit", "2"), ("cursor", "b")]), all()).unwrap();
        assert_eq!(last, json!({"items": [{"id": "c", "name": "c"}], "next_cursor": null}));
        assert_eq!(page(&request(&[("limit", "3")]), all()).unwrap()["next_cursor"], Value::Null);
    }

    #[test]
    fn a_limit_out_of_range_is_refused() {
        for bad in ["0", "501", "-1", "many"] {
            assert_eq!(page(&request(&[("limit", bad)]), all()).unwrap_err().status, 422, "{bad}");
        }
    }
}
