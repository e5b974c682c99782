//! The pages that the proxy answers with when it has nothing better: short, in nginx's look.
//!
//! 500, 502, 503 and 504 share one static page, the file of `error_page_50x` or a built-in one, with an ETag as nginx makes it
//! for files (`error_page 500 502 503 504 /50x.html`). All are made once; answering with one copies nothing.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::cookie::made_of_parts;

/// Statuses that the static page is for.
const STATIC: [u16; 4] = [500, 502, 503, 504];

/// Statuses that have a sentence of their own.
const SENTENCES: [(u16, &str); 12] = [
    (
        400,
        "The request is not valid HTTP, or could be read in two ways.",
    ),
    (403, "There is something here, and it is not for you."),
    (404, "There is nothing here under this path."),
    (405, "This method is not allowed here."),
    (408, "The request took too long to arrive."),
    (
        413,
        "The body of the request is larger than is allowed here.",
    ),
    (414, "The address is longer than is allowed here."),
    (417, "The request expects what cannot be met."),
    (
        431,
        "The fields of the request are larger, or more, than is allowed here.",
    ),
    (499, "The client left before there was an answer."),
    (501, "The request uses a coding that is not known here."),
    (
        505,
        "The request is in a version of HTTP that is not spoken here.",
    ),
];

const STATIC_PAGE: &str = "<!DOCTYPE html>
<html>
<head>
<title>Error</title>
<style>body { width: 35em; margin: 0 auto; font-family: Tahoma, Verdana, Arial, sans-serif; }</style>
</head>
<body>
<h1>This page cannot be shown.</h1>
<p>No application server could answer. Please try again in a moment.</p>
<p>If you run this site, look at the proxy's log and at its status page.</p>
</body>
</html>
";

/// All the pages.
#[derive(Debug, Clone)]
pub struct Pages {
    short: Vec<(StatusCode, Bytes)>,
    fixed: Page,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// HTML.
    pub body: Bytes,
    /// `"MTIME-SIZE"` in hex, for the static page.
    pub etag: Option<HeaderValue>,
}

impl Pages {
    /// The pages, with the file of `error_page_50x` and the time of its last change where there is one.
    pub fn new(file: Option<(Bytes, SystemTime)>) -> Self {
        let (body, changed) = file.unwrap_or((
            Bytes::from_static(STATIC_PAGE.as_bytes()),
            SystemTime::UNIX_EPOCH,
        ));
        let etag = Some(etag(changed, body.len()));
        let short = SENTENCES
            .iter()
            .filter_map(|(status, sentence)| {
                let status = StatusCode::from_u16(*status).ok()?;
                Some((status, short(status, sentence)))
            })
            .collect();
        Self {
            short,
            fixed: Page { body, etag },
        }
    }

    /// The page for a status.
    pub fn page(&self, status: StatusCode) -> Page {
        if STATIC.contains(&status.as_u16()) {
            return self.fixed.clone();
        }
        let known = self.short.iter().find(|(known, _)| *known == status);
        let body = match known {
            Some((_, body)) => body.clone(),
            None => short(status, ""),
        };
        Page { body, etag: None }
    }
}

/// An ETag as nginx makes it for a file.
fn etag(changed: SystemTime, size: usize) -> HeaderValue {
    let since = changed
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    made_of_parts(format!("\"{:x}-{size:x}\"", since.as_secs()).into_bytes())
}

fn short(status: StatusCode, sentence: &str) -> Bytes {
    let title = match (status.as_u16(), status.canonical_reason()) {
        (499, _) => "499 Client Closed Request".to_owned(),
        (code, Some(reason)) => format!("{code} {reason}"),
        (code, None) => code.to_string(),
    };
    let sentence = match sentence {
        "" => String::new(),
        sentence => format!("<center>{sentence}</center>\r\n"),
    };
    Bytes::from(format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n{sentence}<hr><center>lnmt-proxy</center>\r\n</body>\r\n</html>\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;
    use http::StatusCode;

    use super::Pages;

    fn page(pages: &Pages, status: u16) -> super::Page {
        pages.page(StatusCode::from_u16(status).expect("a status"))
    }

    #[test]
    fn statuses_have_pages() {
        let pages = Pages::new(None);
        for (status, title) in [
            (400, "400 Bad Request"),
            (405, "405 Method Not Allowed"),
            (408, "408 Request Timeout"),
            (413, "413 Payload Too Large"),
            (414, "414 URI Too Long"),
            (431, "431 Request Header Fields Too Large"),
            (499, "499 Client Closed Request"),
            (505, "505 HTTP Version Not Supported"),
            (418, "418 I'm a teapot"),
            (599, "599"),
        ] {
            let page = page(&pages, status);
            let text = String::from_utf8_lossy(&page.body).into_owned();
            assert!(text.contains(&format!("<h1>{title}</h1>")), "{text}");
            assert_eq!(page.etag, None);
        }
    }

    #[test]
    fn the_static_page_is_for_four_statuses() {
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(0x5_4321);
        let pages = Pages::new(Some((Bytes::from_static(b"sorry"), changed)));
        for status in [500, 502, 503, 504] {
            let page = page(&pages, status);
            assert_eq!(&page.body[..], b"sorry");
            assert_eq!(page.etag.expect("an etag"), "\"54321-5\"");
        }
        assert_ne!(&page(&pages, 501).body[..], b"sorry");
    }
}
