//! `lab trace`: the commands of each request, as text and as JSON.

mod support;

use serde_json::Value;
use support::{run, text};

#[test]
fn each_request_is_shown_with_what_it_sent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = run(["trace", "--behaviour", "msm"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for line in [
        "request 1  GET /jsp/ → TomcatA: S1-n",
        "WEB1, Set-Cookie\n",
        "get ping-n1=miss\n",
        "get ping-n2=miss\n",
        "set bak:validity:S1-n",
        "request 2  GET /jsp/ → TomcatB: S1-n",
        "=NOT_STORED\n",
    ] {
        assert!(said.contains(line), "{line} is in\n{said}");
    }
    assert!(!said.contains("(no reply)"), "{said}");
}

#[test]
fn a_trace_is_json_too_and_only_of_store_nodes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let asks = ["session", "get", "logout"];
    let arguments = ["trace", "--mode", "msm_sticky", "--json"];
    let output = run(arguments.into_iter().chain(asks), folder.path());
    let trace: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(trace["schema"], "lnmt-lab/trace/1");
    let requests = trace["requests"].as_array().expect("requests");
    assert_eq!(requests.len(), 3, "{trace:#}");
    assert_eq!(requests[0]["server"], "TomcatA");
    assert_eq!(requests[2]["session"], Value::Null);
    let first = requests[0]["commands"].as_array().expect("commands");
    assert!(!first.is_empty(), "{trace:#}");

    let output = run(["trace", "--mode", "ip_hash"], folder.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("trace msm or msm_sticky"));
}
