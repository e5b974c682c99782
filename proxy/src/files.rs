//! Small static files below a directory (nginx `root`): the 50x page's picture, a favicon, a robots.txt.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, LAST_MODIFIED, SERVER};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::body::ResponseBody;
use crate::exchange::Exchange;
use crate::page;
use crate::site::file_path;

/// The largest file that is served; it is read as a whole, and larger ones belong on a file server.
const MAX_SIZE: u64 = 4 * 1024 * 1024;

/// Serves the file that the request's path names below `root`; a directory's `index.html` for the directory.
pub(crate) fn answer(
    exchange: &Rc<Exchange>,
    root: &Path,
    request: &http::request::Parts,
) -> Response<ResponseBody> {
    if request.method != Method::GET && request.method != Method::HEAD {
        return page::of(exchange, StatusCode::METHOD_NOT_ALLOWED);
    }
    let Some(path) = file_path(root, request.uri.path()) else {
        return page::of(exchange, StatusCode::NOT_FOUND);
    };
    let Ok(file) = File::read(path) else {
        return page::of(exchange, StatusCode::NOT_FOUND);
    };
    let unchanged = request
        .headers
        .get(IF_NONE_MATCH)
        .is_some_and(|tag| *tag == file.tag);
    let mut response = if unchanged {
        let mut response = Response::new(ResponseBody::empty(exchange));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(ResponseBody::ready(file.content, exchange))
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.insert(ETAG, file.tag);
    if let Some(server) = &exchange.view.policy.server {
        headers.insert(SERVER, server.clone());
    }
    if let Some(modified) = file.modified {
        headers.insert(LAST_MODIFIED, modified);
    }
    response
}

struct File {
    content: Bytes,
    content_type: &'static str,
    /// `"MTIME-SIZE"` in hex, as nginx makes it.
    tag: HeaderValue,
    modified: Option<HeaderValue>,
}

impl File {
    fn read(mut path: PathBuf) -> std::io::Result<Self> {
        if path.is_dir() {
            path.push("index.html");
        }
        let data = std::fs::metadata(&path)?;
        if !data.is_file() || data.len() > MAX_SIZE {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        let modified = data.modified()?;
        let seconds = modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let content = Bytes::from(std::fs::read(&path)?);
        let tag = format!("\"{seconds:x}-{:x}\"", content.len());
        Ok(Self {
            content_type: content_type(&path),
            content,
            tag: HeaderValue::from_str(&tag).map_err(std::io::Error::other)?,
            modified: HeaderValue::from_str(&httpdate::fmt_http_date(modified)).ok(),
        })
    }
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("ico") => "image/x-icon",
        _ => "application/octet-stream",
    }
}
