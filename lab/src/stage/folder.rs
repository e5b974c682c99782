//! A folder for each run of the lab: settings files, logs, histories, results. The oldest go when there are many.

use std::fs;
use std::path::{Path, PathBuf};

use program::Failure;

/// Where run folders are made unless told otherwise, below the current folder.
pub const RUNS: &str = "lab-runs";

/// So many runs are kept; older ones are removed when a new one begins.
pub const RUNS_KEPT: usize = 20;

/// Makes a new folder `TIME-WHAT-PID` in `runs`, or in the system's temporary folder when `runs` is `None` and the
/// current folder cannot be written.
pub fn create(runs: Option<&Path>, what: &str) -> Result<PathBuf, Failure> {
    let (parent, may_fall_back) = match runs {
        Some(runs) => (runs.to_owned(), false),
        None => (PathBuf::from(RUNS), true),
    };
    let name = format!(
        "{}-{what}-{}",
        jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S"),
        std::process::id()
    );
    match make(&parent, &name) {
        Ok(folder) => Ok(folder),
        Err(_) if may_fall_back => {
            let parent = std::env::temp_dir().join(RUNS);
            make(&parent, &name).map_err(|e| cannot(&parent, &e))
        }
        Err(e) => Err(cannot(&parent, &e)),
    }
}

fn cannot(parent: &Path, cause: &std::io::Error) -> Failure {
    Failure::Environment(format!(
        "cannot make a folder for this run in {}: {cause}; choose another with --dir",
        parent.display()
    ))
}

fn make(parent: &Path, name: &str) -> std::io::Result<PathBuf> {
    fs::create_dir_all(parent)?;
    let folder = parent.join(name);
    fs::create_dir(&folder)?;
    remove_old(parent, RUNS_KEPT);
    folder.canonicalize()
}

/// Removes the oldest runs beyond `kept`. Only folders that this file has named are touched, and none whose lab lives.
fn remove_old(parent: &Path, kept: usize) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    let mut runs: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| process_of(name).is_some())
        .collect();
    runs.sort();
    let old = runs.len().saturating_sub(kept);
    for name in &runs[..old] {
        let lives = process_of(name).is_some_and(|id| Path::new(&format!("/proc/{id}")).exists());
        if !lives {
            // Somebody may look into it at this moment; the next run tries again.
            let _ = fs::remove_dir_all(parent.join(name));
        }
    }
}

/// The process id in a name that [`create`] made.
fn process_of(name: &str) -> Option<u32> {
    let (time, rest) = name.split_once('-')?;
    let (_, id) = rest.rsplit_once('-')?;
    let is_time = time.len() == 15 && time.as_bytes().get(8) == Some(&b'T');
    is_time.then(|| id.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::{create, process_of, remove_old};

    #[test]
    fn old_runs_go_and_strangers_stay() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        for name in [
            "20200101T000000-up-999999999",
            "20210101T000000-run-999999999",
            "mine",
        ] {
            std::fs::create_dir(parent.path().join(name)).expect("made");
        }
        let run = create(Some(parent.path()), "up").expect("made");
        remove_old(parent.path(), 1);
        let mut left: Vec<_> = std::fs::read_dir(parent.path())
            .expect("listed")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        left.sort();
        assert_eq!(left, [run.file_name().expect("named"), "mine".as_ref()]);
    }

    #[test]
    fn only_names_of_runs_are_recognised() {
        assert_eq!(process_of("20261123T070000-up-42"), Some(42));
        for name in ["mine", "20261123T070000", "a-b-42", "20261123T070000-up-x"] {
            assert_eq!(process_of(name), None, "{name}");
        }
    }
}
