//! Gives back the pages of the program that only its start needed.
//!
//! Reading settings, options and environment touches two megabytes of code that never run again. They count as memory of
//! this process, and so as part of `-m`; at 64 MB that is room for some thousand sessions.

use std::io;

use rustix::mm::{Advice, madvise};

/// Takes the program's code out of this process's memory. What is still needed comes back, page by page, from the file
/// (or the page cache), as at the start.
pub(crate) fn give_back() -> io::Result<()> {
    for (start, length) in code(&std::fs::read_to_string("/proc/self/maps")?) {
        drop_pages(start, length)?;
    }
    Ok(())
}

/// Start and length of the mappings of code that come from files.
fn code(maps: &str) -> impl Iterator<Item = (usize, usize)> {
    maps.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        // Executable and not writable: nothing but the file is in there. Then offset, device and inode.
        let is_code = words.next()? == "r-xp" && words.nth(3)?.starts_with('/');
        let from = usize::from_str_radix(from, 16).ok()?;
        let to = usize::from_str_radix(to, 16).ok()?;
        is_code.then_some((from, to.checked_sub(from)?))
    })
}

#[allow(
    unsafe_code,
    reason = "no safe call gives pages of code back; it is the only one in this program"
)]
fn drop_pages(start: usize, length: usize) -> io::Result<()> {
    let start = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: the kernel has just named this range as a private mapping of a file that is executable and not writable. Its
    // pages are the file's, as nobody can have written to them, so dropping them changes nothing that any thread can
    // read or run: the next access maps the same bytes again (madvise(2), MADV_DONTNEED on a file mapping).
    unsafe { madvise(start, length, Advice::LinuxDontNeed)? };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{code, give_back};

    #[test]
    fn only_code_that_comes_from_files_is_given_back() {
        let maps = "\
55d0-55e0 r--p 00000000 fd:00 12   /bin/sessiond
55e0-5600 r-xp 00010000 fd:00 12   /bin/sessiond
5600-5610 rw-p 00030000 fd:00 12   /bin/sessiond
5700-5800 rw-p 00000000 00:00 0    [heap]
7000-7010 r-xp 00000000 00:00 0    [vdso]
7100-7110 r-xp 00000000 00:00 0
7200-7280 rwxp 00000000 fd:00 13   /lib/odd.so
";
        assert_eq!(code(maps).collect::<Vec<_>>(), [(0x55e0, 0x20)]);
    }

    #[test]
    fn the_program_runs_on() {
        let before = std::hint::black_box(f64::from(7u8)).sqrt().to_string();
        give_back().expect("Linux gives pages back");
        assert_eq!(
            std::hint::black_box(f64::from(7u8)).sqrt().to_string(),
            before
        );
        let joined = std::thread::spawn(|| (1..=20u64).product::<u64>()).join();
        assert_eq!(joined.expect("threads start"), 2_432_902_008_176_640_000);
    }
}
