//! The template, what watches it and the runbook fit the code and each other.

use std::collections::{BTreeMap, BTreeSet};

use tidepost::stack::host::routes::{Route, route};
use tidepost_io::emf::Metric;

use super::sources::shipped_sources;
use super::{read, root};

const TEMPLATE: &str = "template.yaml";
const WATCH: &str = "infra/watch.yaml";
const RUNBOOK: &str = "docs/OPERATIONS.md";
/// Where CloudWatch finds what functions count.
const NAMESPACE: &str = "Tidepost";

/// A resource of a template: its name and its lines.
fn resources(template: &str) -> BTreeMap<String, String> {
    let text = read(template);
    let (_, resources) = text.split_once("\nResources:\n").unwrap();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut name = String::new();
    for line in resources.lines().take_while(|line| !line.starts_with("Outputs:")) {
        let is_name = line.starts_with("  ") && line.ends_with(':') && !line.starts_with("   ");
        if is_name {
            name = line.trim().trim_end_matches(':').to_owned();
        } else if !line.trim_start().starts_with('#') {
            found.entry(name.clone()).or_default().extend([line, "\n"]);
        }
    }
    found.remove("");
    assert!(!found.is_empty(), "{template}");
    found
}

/// What stands behind `key: ` on a line of its own.
fn value<'a>(lines: &'a str, key: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "))
}

fn number(lines: &str, key: &str) -> u32 {
    value(lines, key).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {key} in {lines}"))
}

fn functions() -> BTreeMap<String, String> {
    let functions = resources(TEMPLATE).into_values().filter(|lines| lines.contains("AWS::Serverless::Function"));
    functions.map(|lines| (value(&lines, "Handler").unwrap().to_owned(), lines)).collect()
}

/// Words of a text that begin with `prefix` and are written like constants.
fn constants(text: &str, prefix: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
    text.split(|letter| !is_part(letter)).filter(|word| word.starts_with(prefix)).map(str::to_owned).collect()
}

#[test]
fn every_folder_of_a_function_is_in_the_template_and_the_other_way_round() {
    let folders = std::fs::read_dir(root().join("functions")).unwrap();
    let folders: BTreeSet<String> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let functions = functions();
    assert_eq!(functions.keys().cloned().collect::<BTreeSet<_>>(), folders);
    for (handler, lines) in &functions {
        let name = format!("!Sub ${{AWS::StackName}}-{handler}");
        assert_eq!(value(lines, "FunctionName"), Some(name.as_str()), "logs, alarms and dashboard go by this name");
        let role = handler[..1].to_uppercase() + &handler[1..];
        assert_eq!(value(lines, "Role"), Some(format!("!GetAtt {role}Role.Arn").as_str()), "each has its own role");
    }
}

#[test]
fn the_template_sets_every_variable_that_functions_read_and_no_other() {
    // What they read in their own environment; the command's variables are not in these files.
    let read_by_functions: BTreeSet<String> = ["crates/tidepost-io/src/config.rs", "crates/tidepost-io/src/runtime.rs"]
        .iter()
        .flat_map(|path| constants(&read(path), "TIDEPOST_"))
        .collect();
    assert!(read_by_functions.contains("TIDEPOST_LOG"), "{read_by_functions:?}");
    let template = read(TEMPLATE);
    let (_, globals) = template.split_once("\nGlobals:\n").unwrap();
    let (globals, _) = globals.split_once("\nResources:\n").unwrap();
    assert_eq!(constants(globals, "TIDEPOST_"), read_by_functions);
}

/// A queue hides a message at least as long as its function may take, and the local stack's as long as the template's.
#[test]
fn visibility_fits_the_time_outs() {
    let (resources, functions) = (resources(TEMPLATE), functions());
    let timeout = |function: &str| number(&functions[function], "Timeout");
    let visibility = |queue: &str| number(&resources[queue], "VisibilityTimeout");
    assert_eq!(visibility("NowQueue"), 2 * timeout("dispatch"));
    assert_eq!(visibility("BulkQueue"), timeout("dispatch"), "a flight is flown again within its minute");
    assert!(visibility("SweepQueue") >= timeout("sweep"));
    let local = read("crates/tidepost/src/stack/aws/resources.rs");
    let usual = format!("visibility_seconds: {}, receive_count_max: 5", visibility("NowQueue"));
    let bulk = format!("BULK_VISIBILITY_SECONDS: u32 = {}", visibility("BulkQueue"));
    assert!(local.contains(&usual) && local.contains(&bulk), "{usual}; {bulk}");
    for queue in ["NowQueue", "BulkQueue", "SweepQueue"] {
        assert!(resources[queue].contains("maxReceiveCount: 5"), "{queue}");
    }
}

/// The route of a path, as HTTP APIs choose it: one that matches as a whole goes before a greedy one, and then the one with
/// more words of its own.
fn routed(path: &str, routes: &[(String, String)]) -> String {
    let matches = |route: &str| {
        let (mut path, mut literals) = (path.split('/'), 0);
        for part in route.split('/') {
            if part == "{proxy+}" {
                return path.next().map(|_| (false, literals));
            }
            let here = path.next()?;
            match part.starts_with('{') {
                true => {}
                false if part == here => literals += 1,
                false => return None,
            }
        }
        path.next().is_none().then_some((true, literals))
    };
    let best = routes.iter().filter_map(|(route, function)| Some((matches(route)?, function))).max();
    best.map_or_else(|| panic!("{path} has no route"), |(_, function)| function.to_lowercase())
}

/// Every path of the contract leads to the same function as on the local stack.
#[test]
fn the_apis_routes_are_the_local_stacks() {
    let routes = resources(TEMPLATE).into_values().filter(|lines| lines.contains("AWS::ApiGatewayV2::Route"));
    let routes: Vec<(String, String)> = routes
        .map(|lines| {
            let key = value(&lines, "RouteKey").unwrap().trim_matches('\'').strip_prefix("ANY ").unwrap().to_owned();
            let target = value(&lines, "Target").unwrap().to_owned();
            let function = target.split(['{', '}']).nth(1).unwrap().strip_suffix("Integration").unwrap().to_owned();
            (key, function)
        })
        .collect();
    let contract: serde_json::Value = serde_json::from_str(&read("functions/report/openapi.json")).unwrap();
    for path in contract["paths"].as_object().unwrap().keys() {
        let path = path.replace(['{', '}'], "");
        let local = match route(&path) {
            Route::Function(function) => function.name(),
            Route::Health => "report",
            Route::Unknown => "nothing",
        };
        assert_eq!(routed(&path, &routes), local, "{path}");
    }
}

fn measured() -> BTreeSet<String> {
    Metric::ALL.map(|metric| metric.name().to_owned()).into()
}

#[test]
fn every_metric_is_on_the_dashboard_and_the_other_way_round() {
    let watch = read(WATCH);
    let on_dashboard: BTreeSet<String> = watch
        .split(&format!("[\"{NAMESPACE}\", \""))
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    assert_eq!(on_dashboard, measured());
}

/// Alarms watch what is there, and each has its page.
#[test]
fn every_alarm_watches_something_and_has_its_page() {
    let measured = measured();
    let mut alarms: BTreeSet<String> = BTreeSet::new();
    for file in [WATCH, TEMPLATE] {
        let found = resources(file).into_iter().filter(|(_, lines)| lines.contains("AWS::CloudWatch::Alarm"));
        for (name, lines) in found {
            // What is counted of the whole deployment has an alarm of the same name.
            let is_of_all = lines.contains("Dimensions: [{Name: stage, Value: !Ref Tidepost}]\n");
            for metric in lines.split("Namespace: Tidepost\n").skip(1).map(|rest| value(rest, "MetricName").unwrap()) {
                assert!(measured.contains(metric), "the alarm {name} watches {metric}, which nobody tells");
                assert!(!is_of_all || name == metric, "the alarm {name} watches {metric}");
            }
            assert!(!lines.contains("Namespace: Tidepost,"), "{name}: a metric's namespace has a line of its own");
            alarms.insert(name);
        }
    }
    assert!(alarms.len() > 12, "{alarms:?}");
    let runbook = read(RUNBOOK);
    let (_, pages) = runbook.split_once("\n## Alarms\n").unwrap();
    let (pages, _) = pages.split_once("\n## ").unwrap();
    let named: BTreeSet<String> =
        pages.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    assert_eq!(named, alarms);
    for page in pages.split("\n### ").skip(1) {
        for part in ["**Means.**", "**Look.**", "**Do.**"] {
            assert!(page.contains(part), "{part} is missing: {page}");
        }
    }
}

/// Nothing but traces and network interfaces is allowed everywhere, and no name of a partition is written out.
#[test]
fn roles_name_what_they_may_touch() {
    for file in [TEMPLATE, WATCH, "infra/campaign-schedule.yaml", "infra/callback-url.yaml", "infra/egress.yaml"] {
        let text = read(file);
        let mut before = "";
        for (number, line) in (1..).zip(text.lines()) {
            assert!(!line.contains("arn:aws:"), "{file}:{number}: use ${{AWS::Partition}}: {line}");
            // Neither can be named before it is there.
            let is_trace = line.contains("Action: [xray:PutTelemetryRecords, xray:PutTraceSegments], Resource: '*'");
            let is_interface = before == "- ec2:UnassignPrivateIpAddresses" && line.trim() == "Resource: '*'";
            let is_known = is_trace || is_interface || may_have_star(line.trim());
            assert!(is_known || !line.contains('*'), "{file}:{number}: name what is meant instead of *: {line}");
            before = line.trim();
        }
    }
}

/// Where a `*` allows no role anything: comments, times, who may call a function, and paths of one API.
fn may_have_star(line: &str) -> bool {
    ["#", "ScheduleExpression: cron(", "Default: cron(", "Principal: '*'", "SourceArn: "]
        .iter()
        .any(|start| line.starts_with(start))
}

/// What functions log as errors: the last text of each call.
fn error_lines() -> BTreeSet<String> {
    let sources = shipped_sources(&["crates/tidepost-io/", "functions/"]);
    let calls = sources.iter().flat_map(|(_, text)| text.split("error!(").skip(1));
    let last_text = |call: &str| call.split("\");").next()?.split("\"))").next()?.rsplit('"').next().map(str::to_owned);
    calls.filter_map(last_text).collect()
}

/// An error means that a person must act: the runbook says how.
#[test]
fn every_line_of_an_error_has_its_row_in_the_runbook_and_the_other_way_round() {
    let runbook = read(RUNBOOK);
    let (_, page) = runbook.split_once("\n| line | do |\n| --- | --- |\n").unwrap();
    let rows = page.lines().take_while(|line| line.starts_with("| "));
    let rows: BTreeSet<String> = rows.map(|row| row.split(" | ").next().unwrap()[2..].to_owned()).collect();
    let lines = error_lines();
    assert!(lines.len() > 20, "{lines:?}");
    assert_eq!(rows, lines);
}

/// A function that runs once at a time gets one event at a full minute: of two, one waits for the other and may be dropped.
#[test]
fn no_two_schedules_of_a_function_come_at_the_same_moment() {
    let mut exact: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut count = 0;
    for (name, lines) in resources(TEMPLATE) {
        if lines.contains("Type: AWS::Scheduler::Schedule") {
            count += 1;
            let target = value(&lines, "Arn").unwrap().to_owned();
            let of_target = exact.entry(target).or_default();
            of_target.extend(value(&lines, "FlexibleTimeWindow").unwrap().contains("OFF").then_some(name));
        }
    }
    assert!(count > 3, "{exact:?}");
    assert!(exact.values().all(|names| names.len() == 1), "{exact:?}");
}

/// The lines of a stage in `infra/stages.toml`, by its name.
fn stages() -> BTreeMap<String, String> {
    let text = read("infra/stages.toml");
    let sections = text.split("\n[").skip(1).map(|section| section.split_once(".deploy.parameters]").unwrap());
    sections.map(|(name, lines)| (name.to_owned(), lines.replace(" = ", ": "))).collect()
}

/// What a stage sets, by the parameter's name.
fn overrides(lines: &str) -> BTreeMap<&str, &str> {
    let all = value(lines, "parameter_overrides").unwrap().trim_matches('"');
    all.split(' ').map(|one| one.split_once('=').unwrap()).collect()
}

fn parameters(template: &str) -> BTreeSet<String> {
    let text = read(template);
    let parameters =
        text.split_once("\nParameters:\n").unwrap().1.lines().take_while(|line| !line.starts_with(|c: char| c != ' '));
    let names = parameters.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.trim().strip_suffix(':')).map(str::to_owned).collect()
}

#[test]
fn every_stage_has_a_watch_of_its_own_and_sets_what_the_templates_have() {
    let stages = stages();
    for (name, lines) in &stages {
        let template = value(lines, "template_file").map_or(TEMPLATE, |path| path.trim_matches('"'));
        let (known, set) = (parameters(template), overrides(lines));
        assert!(known.len() > 3 && set.keys().all(|one| known.contains(*one)), "{name}: {set:?}");
        if template == TEMPLATE {
            let watch = overrides(&stages[&format!("{name}-watch")]);
            assert_eq!(watch["Tidepost"], value(lines, "stack_name").unwrap().trim_matches('"'));
            assert_eq!(watch.get("FixedEgress"), set.get("FixedEgress"), "{name}");
        }
    }
    assert!(stages.len() > 3, "{stages:?}");
}
