//! Paths: the normal form that locations are chosen by, and the file that a path names.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The path with escapes of unreserved characters decoded, slashes merged, and dots resolved, at most up to the root. An
/// escaped slash stays one. It does not allocate where there is nothing to do.
pub(crate) fn normalise(path: &str) -> Cow<'_, str> {
    let plain = !path.contains('%') && !path.contains("//") && !path.contains("/.");
    if plain {
        return Cow::Borrowed(path);
    }
    let decoded = decode_unreserved(path);
    let mut segments: Vec<&str> = Vec::new();
    let mut directory = true;
    for part in decoded.split('/').skip(1) {
        directory = matches!(part, "" | "." | "..");
        match part {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if directory || segments.is_empty() {
        normal.push('/');
    }
    Cow::Owned(normal)
}

/// Decodes `%41` to `A` for the characters that mean the same either way (RFC 3986 section 2.3).
fn decode_unreserved(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(percent) = rest.find('%') {
        decoded.push_str(&rest[..percent]);
        let escape = rest.get(percent + 1..percent + 3);
        let byte = escape.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(char::from(byte));
                rest = &rest[percent + 3..];
            }
            _ => {
                decoded.push('%');
                rest = &rest[percent + 1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// The file below `root` that a path (without query) names: decoded, never outside of `root`, and never hidden (no segment
/// begins with a dot). A path that ends with a slash names `index.html`. `None`: there can be no such file.
pub fn file_path(root: &Path, path: &str) -> Option<PathBuf> {
    let normal = normalise(path);
    let mut file = root.to_path_buf();
    for segment in normal.split('/').filter(|segment| !segment.is_empty()) {
        let name = String::from_utf8(decode_all(segment)?).ok()?;
        let forbidden = name.starts_with('.') || name.contains(['/', '\\', '\0']);
        if forbidden {
            return None;
        }
        file.push(name);
    }
    if normal.ends_with('/') {
        file.push("index.html");
    }
    Some(file)
}

fn decode_all(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{file_path, normalise};

    #[test]
    fn paths_are_normalised() {
        for (path, normal) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a//b", "/a/b"),
            ("//", "/"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/../../a", "/a"),
            ("/%61/%2e%2E/b", "/b"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%e4%B8", "/%e4%B8"),
            ("/a%", "/a%"),
            ("/a%4", "/a%4"),
            ("/a%zz", "/a%zz"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a.b/c", "/a.b/c"),
            ("/%é", "/%é"),
        ] {
            assert_eq!(normalise(path), normal, "{path}");
        }
    }

    #[test]
    fn files_stay_below_their_root() {
        let root = Path::new("/srv");
        for (path, file) in [
            ("/", Some("/srv/index.html")),
            ("/a/b.txt", Some("/srv/a/b.txt")),
            ("/a/", Some("/srv/a/index.html")),
            ("/a%20b", Some("/srv/a b")),
            ("/../../etc/passwd", Some("/srv/etc/passwd")),
            ("/..%2f..%2fetc/passwd", None),
            ("/%2e%2e/%2e%2e/etc/passwd", Some("/srv/etc/passwd")),
            ("/.git/config", None),
            ("/a%00", None),
            ("/a%5c..", None),
            ("/a%zz", None),
            ("/a%ff", None),
        ] {
            assert_eq!(file_path(root, path), file.map(PathBuf::from), "{path}");
        }
    }
}
