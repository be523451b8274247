//! Hardware counters of this thread, by Linux's perf_event_open: what it counts of user code, and why not where it does not.
//!
//! Each counter is opened by itself: a machine, a virtual one above all, may have some and not others. Nothing here is an error: what can't be
//! counted is left out and said.

/// What is counted: names as reports have them.
pub const NAMES: [&str; 5] = [
    "cycles",
    "instructions",
    "cache_references",
    "cache_misses",
    "branch_misses",
];

/// Open counters.
#[derive(Default)]
pub struct Counters {
    #[cfg(target_os = "linux")]
    open: Vec<(usize, perf_event::Counter)>,
    /// What can't be counted, and why.
    pub missing: Vec<(&'static str, String)>,
}

/// One number for each of [`NAMES`]; `None` where it is not counted.
pub type Counts = [Option<u64>; NAMES.len()];

impl Counters {
    /// Opens what may be opened.
    #[cfg(target_os = "linux")]
    pub fn open() -> Counters {
        use perf_event::events::Hardware;
        let events = [
            Hardware::CPU_CYCLES,
            Hardware::INSTRUCTIONS,
            Hardware::CACHE_REFERENCES,
            Hardware::CACHE_MISSES,
            Hardware::BRANCH_MISSES,
        ];
        Counters::of(events)
    }

    /// Counters of these events, one for each of [`NAMES`] in their order.
    #[cfg(target_os = "linux")]
    fn of<E: perf_event::events::Event>(events: [E; NAMES.len()]) -> Counters {
        use perf_event::Builder;
        let mut all = Counters::default();
        for (k, event) in events.into_iter().enumerate() {
            let made = Builder::new(event).build();
            match made.and_then(|mut c| c.enable().map(|()| c)) {
                Ok(c) => all.open.push((k, c)),
                Err(e) => all.missing.push((NAMES[k], reason(&e))),
            }
        }
        all
    }

    /// Opens what may be opened: nothing here.
    #[cfg(not(target_os = "linux"))]
    pub fn open() -> Counters {
        let why = "only Linux has them".to_string();
        let missing = NAMES.iter().map(|n| (*n, why.clone()));
        Counters {
            missing: missing.collect(),
        }
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.missing.len() == NAMES.len()
    }

    /// What they stand at.
    #[cfg(target_os = "linux")]
    pub fn read(&mut self) -> Counts {
        let mut all = [None; NAMES.len()];
        for (k, c) in &mut self.open {
            // Where counters take turns, time that one did not run is made up for.
            all[*k] = c.read_full().ok().map(|d| {
                let count = d.count();
                match (d.time_enabled(), d.time_running()) {
                    (Some(all), Some(ran)) if !ran.is_zero() && ran < all => {
                        (count as f64 * all.as_secs_f64() / ran.as_secs_f64()) as u64
                    }
                    _ => count,
                }
            });
        }
        all
    }

    /// What they stand at.
    #[cfg(not(target_os = "linux"))]
    pub fn read(&mut self) -> Counts {
        [None; NAMES.len()]
    }

    /// What is missing, in a sentence; `None` where nothing is.
    pub fn why_not(&self) -> Option<String> {
        let (_, why) = self.missing.first()?;
        let names: Vec<&str> = self.missing.iter().map(|m| m.0).collect();
        let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
        let level = level.map_or(String::new(), |l| {
            format!("; kernel.perf_event_paranoid is {}", l.trim())
        });
        Some(format!(
            "not counted here: {} ({why}{level})",
            names.join(", ")
        ))
    }
}

/// What was counted between two moments.
pub fn between(from: &Counts, to: &Counts) -> Counts {
    let mut all = [None; NAMES.len()];
    for (k, slot) in all.iter_mut().enumerate() {
        *slot = to[k].zip(from[k]).map(|(t, f)| t.saturating_sub(f));
    }
    all
}

/// What the system's answer means.
#[cfg(target_os = "linux")]
fn reason(e: &std::io::Error) -> String {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    match e.kind() {
        NotFound => format!("this machine has no such counter, as virtual ones often do: {e}"),
        PermissionDenied => format!("the system does not allow it: {e}"),
        _ => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the system counts by itself stands in where there is no hardware to ask: pages that are touched for the first time.
    #[cfg(target_os = "linux")]
    #[test]
    fn counts_are_of_what_happens_between() {
        use perf_event::events::Software;
        let events = [
            Software::PAGE_FAULTS,
            Software::PAGE_FAULTS_MIN,
            Software::DUMMY,
            Software::EMULATION_FAULTS,
            Software::PAGE_FAULTS_MAJ,
        ];
        let mut c = Counters::of(events);
        if !c.missing.is_empty() {
            eprintln!("skipped: {}", c.why_not().unwrap_or_default());
            return;
        }
        let pages = |n: usize| {
            // Fresh pages of the system, in an allocation that is too large to be one given back before.
            let mut room = vec![0u8; n << 12];
            for k in (0..room.len()).step_by(4096) {
                room[k] = std::hint::black_box(1);
            }
            std::hint::black_box(&room);
        };
        let before = c.read();
        pages(4096);
        let (one, middle) = (c.read(), c.read());
        let counted = between(&before, &one);
        // At least a few, where the system gives large pages; each is a small fault, and none emulates anything.
        assert!(
            counted[0] >= Some(8) && counted[0] >= counted[1],
            "{counted:?}"
        );
        assert_eq!((counted[2], counted[3]), (Some(0), Some(0)));
        assert!(between(&one, &middle)[0] < counted[0], "{counted:?}");
    }

    #[test]
    fn what_is_not_counted_is_said() {
        let mut c = Counters::open();
        let counts = c.read();
        for (k, name) in NAMES.iter().enumerate() {
            let missing = c.missing.iter().any(|m| m.0 == *name);
            assert_eq!(counts[k].is_none(), missing, "{name}");
        }
        assert_eq!(c.why_not().is_none(), c.missing.is_empty());
        if let Some(text) = c.why_not() {
            assert!(text.contains(c.missing[0].0), "{text}");
        }
        let (a, b) = ([Some(3); 5], [Some(5), None, Some(1), Some(3), Some(4)]);
        assert_eq!(between(&a, &b), [Some(2), None, Some(0), Some(0), Some(1)]);
    }
}
