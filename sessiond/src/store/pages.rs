//! Memory straight from the system: zeroed, resident only where it was written, and really given back when dropped.

use std::io;

use memmap2::MmapMut;

/// What the system counts memory in.
const PAGE: usize = 4096;

/// A piece of memory that is written from its beginning.
#[derive(Debug)]
pub(super) struct Pages {
    map: MmapMut,
    /// Up to here it was written, so that the system keeps memory for it.
    resident: usize,
}

impl Pages {
    /// So many zeroes. Fails when the system has no more memory or mappings.
    pub(super) fn new(size: usize) -> io::Result<Self> {
        let map = MmapMut::map_anon(size)?;
        // A huge page would make all of it resident at the first byte. Systems without huge pages refuse: good as well.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::NoHugePage);
        Ok(Self { map, resident: 0 })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }

    /// What it takes of the system's memory, in bytes.
    pub(super) fn resident(&self) -> usize {
        self.resident
    }

    /// What more it will take when it is written up to `end`.
    pub(super) fn missing(&self, end: usize) -> usize {
        end.next_multiple_of(PAGE).saturating_sub(self.resident)
    }

    /// Notes that it is written up to `end`; what more it takes now.
    pub(super) fn write_to(&mut self, end: usize) -> usize {
        let more = self.missing(end);
        self.resident += more;
        more
    }
}
