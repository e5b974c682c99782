//! Static files below a `root`.

use super::stage::Proxy;

#[test]
fn files_have_the_fields_of_every_response_and_stay_below_their_root() {
    let folder = tempfile::tempdir().expect("a folder");
    let below = folder.path().join("static");
    std::fs::create_dir(&below).expect("a folder");
    std::fs::write(below.join("page.txt"), "hello").expect("written");
    std::fs::write(below.join("index.html"), "index").expect("written");
    std::fs::write(folder.path().join("secret"), "secret").expect("written");
    let proxy = Proxy::start(&format!(
        "[[server]]\n[[server.location]]\npath = \"/static/\"\nroot = {:?}\n",
        folder.path()
    ));
    let response = proxy.get("/static/page.txt");
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    assert_eq!(response.field("server").as_deref(), Some("lnmt-proxy"));
    assert!(response.field("x-proxy").is_some());
    assert!(response.field("last-modified").is_some());
    assert_eq!(proxy.get("/static/").text(), "index");

    let mut client = proxy.connect();
    let tag = response.field("etag").expect("a tag");
    client.send(format!(
        "GET /static/page.txt HTTP/1.1\r\nHost: t\r\nIf-None-Match: {tag}\r\n\r\n"
    ));
    assert_eq!(client.response().status, 304);
    client.send("HEAD /static/page.txt HTTP/1.1\r\nHost: t\r\n\r\n");
    let response = client.response_to("HEAD");
    assert_eq!(response.field("content-length").as_deref(), Some("5"));
    client.send("DELETE /static/page.txt HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().status, 405);

    for path in [
        "/static/none",
        "/static/..%2fsecret",
        "/static/../secret",
        "/static/%2e%2e/secret",
        "/static/page.txt%00",
        "/static//etc/passwd",
    ] {
        assert_eq!(proxy.get(path).status, 404, "{path}");
    }
}
