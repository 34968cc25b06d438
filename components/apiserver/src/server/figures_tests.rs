use super::*;
use crate::registry::Registry as Rows;
use crate::request;

fn text(figures: &Figures) -> String {
    let mut registry = Registry::default();
    figures.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

fn begin(figures: &Figures, method: &Method, uri: &str, headers: &[(&'static str, &'static str)]) -> Option<Ongoing> {
    let uri: http::Uri = uri.parse().unwrap();
    let wanted = request::parse(&Rows::default(), method, uri.path(), uri.query()).unwrap();
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        all.insert(*name, http::HeaderValue::from_static(value));
    }
    figures.begin(wanted.as_ref(), method, uri.path(), &all)
}

/// A request, its headers, and the labels that it is counted by.
type Case = (Method, &'static str, &'static [(&'static str, &'static str)], Option<[&'static str; 10]>);

/// Labels as upstream's server has them for the same requests.
#[tokio::test]
async fn requests_are_counted_by_what_they_are_about() {
    let figures = Figures::default();
    let cases: [Case; 11] = [
        (
            Method::GET,
            "/api/v1/namespaces/a/pods",
            &[],
            Some(["LIST", "", "", "v1", "pods", "", "namespace", "apiserver", "200", ""]),
        ),
        (
            Method::GET,
            "/api/v1/pods?watch=1",
            &[],
            Some(["WATCH", "", "", "v1", "pods", "", "cluster", "apiserver", "200", ""]),
        ),
        (
            Method::POST,
            "/apis/apps/v1/namespaces/a/deployments?dryRun=All",
            &[],
            Some(["POST", "All", "apps", "v1", "deployments", "", "resource", "apiserver", "200", ""]),
        ),
        (
            Method::GET,
            "/api/v1/namespaces/a/pods/b/log",
            &[],
            Some(["CONNECT", "", "", "v1", "pods", "log", "resource", "apiserver", "200", ""]),
        ),
        (
            Method::PATCH,
            "/api/v1/nodes/b?dryRun=Some",
            &[("content-type", "application/apply-patch+yaml"), ("user-agent", "kube-scheduler/v1.36.0 (x)")],
            Some(["APPLY", "invalid", "", "v1", "nodes", "", "resource", "apiserver", "200", "kube-scheduler"]),
        ),
        (
            Method::DELETE,
            "/api/v1/nodes",
            &[("user-agent", "kube-scheduler")],
            Some(["DELETE", "", "", "v1", "nodes", "", "cluster", "apiserver", "200", ""]),
        ),
        (
            Method::GET,
            "/api/v1/endpoints",
            &[],
            Some(["LIST", "", "", "v1", "endpoints", "", "cluster", "apiserver", "200", ""]),
        ),
        (Method::GET, "/livez", &[], Some(["GET", "", "", "", "", "/livez", "", "", "200", ""])),
        (Method::POST, "/healthz", &[], Some(["POST", "", "", "", "", "/healthz", "", "", "200", ""])),
        (Method::GET, "/openapi/v3/api/v1", &[], Some(["GET", "", "", "", "", "openapi/v3/", "", "", "200", ""])),
        (Method::GET, "/version", &[], None),
    ];
    let names = "verb dry_run group version resource subresource scope component code system_client";
    for (method, uri, headers, wanted) in &cases {
        let ongoing = begin(&figures, method, uri, headers);
        assert_eq!(ongoing.is_some(), wanted.is_some(), "{uri}");
        if let Some(ongoing) = ongoing {
            drop(ongoing.answered(Response::new(kinit_serving::full("12345"))));
        }
        let Some(wanted) = wanted else { continue };
        let labels: Vec<String> = names.split(' ').zip(wanted).map(|(name, own)| format!("{name}=\"{own}\"")).collect();
        let line = format!("apiserver_request_total{{{}}} 1", labels.join(","));
        let text = text(&figures);
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
    let text = text(&figures);
    let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(lines("apiserver_request_duration_seconds_count{"), 10);
    assert_eq!(lines("apiserver_request_sli_duration_seconds_count{"), 7, "trials and watches have none");
    assert_eq!(lines("apiserver_response_sizes_sum{verb=\"LIST\""), 2);
    assert_eq!(lines("apiserver_response_sizes_count{"), 6, "reads alone have sizes");
    let deprecated = "apiserver_requested_deprecated_apis{group=\"\",version=\"v1\",resource=\"endpoints\",\
                      subresource=\"\",removed_release=\"\"} 1";
    assert!(text.contains(deprecated), "{text}");
    assert_eq!(lines("apiserver_requested_deprecated_apis{"), 1);
}

/// What was waited for others is no fault of the server's.
#[tokio::test(start_paused = true)]
async fn waiting_for_others_is_not_the_servers_own_time() {
    let figures = Figures::default();
    let ongoing = begin(&figures, &Method::POST, "/api/v1/namespaces/a/pods", &[]).unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    ongoing.waited(Duration::from_secs(3));
    drop(ongoing.answered(Response::new(kinit_serving::full(""))));
    let text = text(&figures);
    let sum = |family: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{family}_sum{{"))).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!(sum("apiserver_request_duration_seconds"), 5.0);
    assert_eq!(sum("apiserver_request_sli_duration_seconds"), 2.0);
}

/// What is answered bit by bit is counted at its end, and until then it is open.
#[tokio::test]
async fn what_lasts_is_open_until_its_end() {
    let figures = Figures::default();
    let ongoing = begin(&figures, &Method::GET, "/api/v1/nodes?watch=1&fieldSelector=metadata.name=a", &[]).unwrap();
    let held = ongoing.running().unwrap();
    let frames = futures::stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"123")))]);
    let body = http_body_util::StreamBody::new(frames).boxed_unsync();
    let answer = ongoing.answered(Response::new(body));
    let open = |wanted: i64| {
        let labels = "verb=\"WATCH\",group=\"\",version=\"v1\",resource=\"nodes\",subresource=\"\",scope=\"resource\"";
        text(&figures)
            .contains(&format!("apiserver_longrunning_requests{{{labels},component=\"apiserver\"}} {wanted}\n"))
    };
    assert!(open(1) && !text(&figures).contains("apiserver_request_total{"), "{}", text(&figures));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "123");
    assert!(open(1), "a connection that was taken over goes on");
    drop(held);
    assert!(open(0) && text(&figures).contains("scope=\"cluster\",component=\"apiserver\",code=\"200\""));
    let listed = begin(&figures, &Method::GET, "/api/v1/nodes", &[]).unwrap();
    listed.dropped();
    let late = begin(&figures, &Method::GET, "/api/v1/nodes", &[]).unwrap();
    late.terminated(StatusCode::GATEWAY_TIMEOUT);
    late.cut()();
    let text = text(&figures);
    let of = "verb=\"LIST\",group=\"\",version=\"v1\",resource=\"nodes\",subresource=\"\",scope=\"cluster\"";
    for line in [
        format!("apiserver_request_terminations_total{{{of},component=\"apiserver\",code=\"429\"}} 1\n"),
        format!("apiserver_request_terminations_total{{{of},component=\"apiserver\",code=\"504\"}} 1\n"),
        format!("apiserver_request_aborts_total{{{of}}} 1\n"),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert!(text.contains("verb=\"LIST\"") && text.contains("code=\"429\",system_client=\"\"} 1"), "{text}");
}

/// Nobody fills the server's memory by asking for parts that there are not.
#[test]
fn only_parts_that_a_custom_resource_has_are_told_apart() {
    let definition = serde_json::json!({
        "metadata": {"name": "foos.example.com", "uid": "u"},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": [
            {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}},
        ]},
        "status": {
            "acceptedNames": {"plural": "foos", "kind": "Foo"},
            "conditions": [{"type": "Established", "status": "True"}],
        },
    });
    let definition = kinit_api::object::Object::from_value(definition).unwrap();
    let rows = Rows::default().with(kinit_crd::definition::Definition::read(&definition));
    let figures = Figures::default();
    let counted = |part: &str| {
        let path = format!("/apis/example.com/v1/namespaces/a/foos/b{part}");
        let wanted = request::parse(&rows, &Method::GET, &path, None).unwrap();
        figures.begin(wanted.as_ref(), &Method::GET, &path, &HeaderMap::new()).is_some()
    };
    assert!(counted("") && counted("/status"));
    assert!(!counted("/scale") && (0..100).all(|at| !counted(&format!("/part{at}"))));
    assert_eq!(figures.rows.read().len(), 2);
}
