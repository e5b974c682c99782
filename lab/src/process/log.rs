//! What a child writes, kept in a file of bounded size, and its last lines for messages.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;

/// A log file that grows past this is kept once as `NAME.log.1` and begun anew: at most twice this per child.
pub const LOG_MAX: u64 = 8 << 20;

/// How much of the end of a log is looked at for its last lines.
const TAIL_MAX: u64 = 16 << 10;

/// Copies what comes through the pipe to `path` until every writer has closed it.
pub(super) async fn copy(mut from: Receiver, path: PathBuf) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    let mut file = File::create(&path).await?;
    let mut written: u64 = 0;
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return file.flush().await;
        }
        if written > LOG_MAX {
            tokio::fs::rename(&path, path.with_extension("log.1")).await?;
            file = File::create(&path).await?;
            written = 0;
        }
        file.write_all(&buffer[..read]).await?;
        // The last lines must be readable the moment the child dies.
        file.flush().await?;
        written += read as u64;
    }
}

/// The last `count` lines of the log; fewer, or none, when there is less.
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let mut end = Vec::new();
    let read = std::fs::File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_MAX)))?;
        file.read_to_end(&mut end)
    });
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&end);
    let mut lines = VecDeque::with_capacity(count + 1);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        lines.push_back(line.to_owned());
        if lines.len() > count {
            lines.pop_front();
        }
    }
    lines.into()
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn the_last_lines_are_the_last_ones() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("n1.log");
        assert!(last_lines(&path, 3).is_empty(), "no file, no lines");
        let long: String = (0..5000).map(|i| format!("line {i}\n")).collect();
        std::fs::write(&path, long + "\n").expect("written");
        assert_eq!(last_lines(&path, 2), ["line 4998", "line 4999"]);
    }
}
