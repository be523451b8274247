//! What a device does wrong, and when: by a script, or by chance from a seed. And its other options.
//!
//! Options are a text, `key=value` joined by commas, such as `latency-us=100,script=ok/error/late` or `seed=7,rate=0.2,kinds=hang/silent`.
//! Job number n of a process has the fault that [`Options::fault`] says, and nothing else decides: tests can count.

/// What happens to a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    Ok,
    /// It takes `slow-ms` longer, and is right.
    Slow,
    /// It never ends, but can be cancelled.
    Hang,
    /// It never ends and can't be cancelled.
    Stuck,
    /// It can't be cancelled, and ends right after `late-ms`.
    Late,
    /// It ends with an error, outputs half written.
    Error,
    /// The device is gone.
    Lost,
    /// It ends well, and wrote nothing.
    Silent,
    /// It ends well, and one bit is wrong.
    Wrong,
}

/// All faults by name.
pub const KINDS: &[(&str, Fault)] = &[
    ("ok", Fault::Ok),
    ("slow", Fault::Slow),
    ("hang", Fault::Hang),
    ("stuck", Fault::Stuck),
    ("late", Fault::Late),
    ("error", Fault::Error),
    ("lost", Fault::Lost),
    ("silent", Fault::Silent),
    ("wrong", Fault::Wrong),
];

/// Options of a device.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Name of the machine whose regions it takes (`machine`).
    pub machine: String,
    /// There is no device (`absent`).
    pub absent: bool,
    /// It takes no region (`refuse`).
    pub refuse: bool,
    /// Time that a job takes at least, in microseconds (`latency-us`).
    pub latency_us: u64,
    /// How much longer slow jobs take, in milliseconds (`slow-ms`).
    pub slow_ms: u64,
    /// How long late jobs take, in milliseconds (`late-ms`).
    pub late_ms: u64,
    /// Faults of the first jobs, in order; those behind have none (`script`, joined by `/`).
    pub script: Vec<Fault>,
    /// Begins the chances (`seed`).
    pub seed: u64,
    /// How likely a job has a fault, from 0 to 1 (`rate`).
    pub rate: f64,
    /// Which faults then (`kinds`, joined by `/`).
    pub kinds: Vec<Fault>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            machine: "sim-256".into(),
            absent: false,
            refuse: false,
            latency_us: 0,
            slow_ms: 5,
            late_ms: 100,
            script: vec![],
            seed: 0,
            rate: 0.0,
            kinds: KINDS
                .iter()
                .map(|k| k.1)
                .filter(|&k| k != Fault::Ok && k != Fault::Stuck)
                .collect(),
        }
    }
}

impl Options {
    /// Reads options; an error is a line for a person.
    pub fn parse(text: &str) -> Result<Options, String> {
        let mut o = Options::default();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{key}={value}: a whole number is needed"))
            };
            match key {
                "machine" => {
                    let known = crate::cycles::Machine::by_name(value).is_some();
                    known
                        .then_some(())
                        .ok_or_else(|| format!("there is no machine `{value}`"))?;
                    o.machine = value.into();
                }
                "absent" if value.is_empty() => o.absent = true,
                "refuse" if value.is_empty() => o.refuse = true,
                "latency-us" => o.latency_us = number()?,
                "slow-ms" => o.slow_ms = number()?,
                "late-ms" => o.late_ms = number()?,
                "seed" => o.seed = number()?,
                "script" => o.script = kinds(value)?,
                "kinds" => o.kinds = kinds(value)?,
                "rate" => {
                    let rate = value
                        .parse::<f64>()
                        .ok()
                        .filter(|r| (0.0..=1.0).contains(r));
                    o.rate = rate
                        .ok_or_else(|| format!("rate={value}: a number from 0 to 1 is needed"))?;
                }
                _ => return Err(format!("there is no option `{part}` of sim")),
            }
        }
        Ok(o)
    }

    /// The text that [`Options::parse`] makes these options of.
    pub fn text(&self) -> String {
        let join = |list: &[Fault]| {
            let names: Vec<&str> = (list.iter())
                .filter_map(|f| KINDS.iter().find(|k| k.1 == *f))
                .map(|k| k.0)
                .collect();
            names.join("/")
        };
        let mut parts = vec![format!("machine={}", self.machine)];
        parts.extend(self.absent.then(|| "absent".into()));
        parts.extend(self.refuse.then(|| "refuse".into()));
        parts.push(format!(
            "latency-us={},slow-ms={},late-ms={}",
            self.latency_us, self.slow_ms, self.late_ms
        ));
        if !self.script.is_empty() {
            parts.push(format!("script={}", join(&self.script)));
        }
        if self.rate > 0.0 {
            parts.push(format!(
                "seed={},rate={},kinds={}",
                self.seed,
                self.rate,
                join(&self.kinds)
            ));
        }
        parts.join(",")
    }

    /// Fault of job number `n` of a process, counted from 0.
    pub fn fault(&self, n: u64) -> Fault {
        if let Some(&f) = usize::try_from(n).ok().and_then(|n| self.script.get(n)) {
            return f;
        }
        let draw = mixed(
            self.seed
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(n),
        );
        let chance = (draw >> 11) as f64 / (1u64 << 53) as f64;
        if self.kinds.is_empty() || chance >= self.rate {
            return Fault::Ok;
        }
        self.kinds[(mixed(draw) % self.kinds.len() as u64) as usize]
    }
}

fn kinds(text: &str) -> Result<Vec<Fault>, String> {
    (text.split('/').filter(|n| !n.is_empty()))
        .map(|n| {
            let found = KINDS.iter().find(|k| k.0 == n);
            found
                .map(|k| k.1)
                .ok_or_else(|| format!("there is no fault `{n}`"))
        })
        .collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn mixed(v: u64) -> u64 {
    let v = v.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let v = (v ^ v >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let v = (v ^ v >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    v ^ v >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_written() {
        let o = Options::parse(
            "machine=sim-64,latency-us=3,script=ok/hang,seed=9,rate=0.25,kinds=late/wrong",
        )
        .unwrap();
        assert_eq!(o.script, [Fault::Ok, Fault::Hang]);
        assert_eq!(Options::parse(&o.text()), Ok(o));
        for bad in [
            "rate=2",
            "machine=none",
            "x",
            "script=nothing",
            "seed=-1",
            "absent=1",
        ] {
            assert!(Options::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn chances_are_as_said() {
        let o = Options::parse("seed=3,rate=0.3,kinds=error/silent").unwrap();
        let faults: Vec<Fault> = (0..10_000).map(|n| o.fault(n)).collect();
        let count = |f| faults.iter().filter(|&&g| g == f).count() as f64;
        assert!((count(Fault::Ok) - 7000.0).abs() < 200.0);
        assert!((count(Fault::Error) - 1500.0).abs() < 150.0);
        assert!((count(Fault::Silent) - 1500.0).abs() < 150.0);
    }
}
